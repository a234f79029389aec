package wire

import (
	"strings"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// Both ways in which a ClusterIP becomes the node's own give the same on the
// wire, and a node goes from one to the other without losing connections.
func TestVIPBinding(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			s := testbed.Service{Name: "web", Number: 1}
			d := start(t, "--cluster-ip-servers", mode, "--vip-binding", "address")
			serve(t, d, testbed.Backends(bed.P1), s)
			var held []*testbed.Session
			for i, binding := range []string{"address", "route", "address"} {
				if i > 0 {
					if err := d.RestartWith("--vip-binding", binding); err != nil {
						t.Fatal(err)
					}
					settled(t, d)
				}
				for _, h := range held {
					if _, err := h.Ask(); err != nil {
						t.Errorf("a connection did not survive the change to %s: %v", binding, err)
					}
				}
				held = append(held, askBound(t, s, binding)...)
			}
		})
	}
}

// askBound checks the properties of a ClusterIP under a binding, and returns
// connections to it.
func askBound(t *testing.T, s testbed.Service, binding string) []*testbed.Session {
	t.Helper()
	addresses, err := bed.Node.Shell(t.Context(), "ip -o addr show dev kube-ipvs0")
	if err != nil {
		t.Fatal(err)
	}
	var out []*testbed.Session
	for _, four := range []bool{true, false} {
		to := s.ClusterIP().Addr(four)
		if got, want := strings.Contains(addresses, " "+to.Addr().String()+"/"), binding == "address"; got != want {
			t.Errorf("binding %s: %s is an address of kube-ipvs0: %v", binding, to.Addr(), got)
		}
		for _, from := range []*testbed.Host{bed.C1, bed.Node} {
			eventually(t, from, "udp", to, "p1")
			if a := eventually(t, from, "tcp", to, "p1"); a.Peer.Addr() != from.IP(to.Addr()) {
				t.Errorf("binding %s: p1 saw %s and not %s", binding, a.Peer.Addr(), from.Name)
			}
			if _, err := from.Shell(t.Context(), "ping -n -c 1 -W 2 "+to.Addr().String()); err != nil {
				t.Error(err)
			}
			h, err := from.Dial(t.Context(), "tcp", to, testbed.From{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(h.Close)
			out = append(out, h)
		}
	}
	return out
}
