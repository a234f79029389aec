package wire

import (
	"slices"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// TestHairpin lets a pod call Services that it is an endpoint of. When it
// reaches itself it must not see its own address, for it would answer past
// the NAT; when it reaches its sibling through the ClusterIP that sees it.
func TestHairpin(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		services := []testbed.Service{
			{Name: "own", Number: 1, Type: "LoadBalancer", External: true},
			{Name: "own-local", Number: 2, Type: "LoadBalancer", External: true, Spec: externalLocal},
		}
		serve(t, d, testbed.Backends(bed.P1, bed.P2), services...)
		for _, s := range services {
			for _, r := range requests(s.Outside(), bed.P1) {
				hairpin(t, r, false)
			}
			for _, r := range requests([]testbed.Frontend{s.ClusterIP()}, bed.P1) {
				hairpin(t, r, true)
			}
		}
	})
}

// hairpin asks as p1 until it has reached itself and p2. kept says that p2
// must see p1's address.
func hairpin(t *testing.T, r request, kept bool) {
	t.Helper()
	seen := map[string]bool{}
	for range 4 {
		a, err := r.from.Ask(t.Context(), r.network, r.to, r.with)
		seen[testbed.Outcome(a, err)] = true
		self := bed.P1.IP(r.to.Addr())
		switch {
		case err != nil:
		case a.Name == "p1" && a.Peer.Addr() == self:
			t.Errorf("%s: p1 saw itself, %s", r, a.Peer)
		case a.Name == "p2" && kept && a.Peer.Addr() != self:
			t.Errorf("%s: p2 saw %s, want %s", r, a.Peer.Addr(), self)
		}
	}
	if got := sorted(seen); !slices.Equal(got, []string{"p1", "p2"}) {
		t.Errorf("%s: %q, want p1 and p2", r, got)
	}
}

// TestHairpinPort wants masquerading to choose the source port at random: pods
// that ask themselves from the same port would compete for that of the node.
func TestHairpinPort(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "own", Number: 1}
		serve(t, d, testbed.Backends(bed.P1), s)
		for _, four := range families {
			kept := 0
			for port := uint16(42000); port < 42004; port++ {
				a, err := bed.P1.Ask(t.Context(), "tcp", s.ClusterIP().Addr(four), testbed.From{Port: port})
				if err != nil {
					t.Fatal(err)
				}
				if a.Peer.Port() == port {
					kept++
				}
			}
			if kept > 1 { // chance may choose the same one
				t.Errorf("to %s: %d of 4 connections kept their source port", s.ClusterIP().Addr(four), kept)
			}
		}
	})
}
