package wire

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// TestChangeType takes a Service through all types. Frontends that a type lacks must
// stop to answer.
func TestChangeType(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		full := testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer"}
		clients := []*testbed.Host{bed.C1, bed.Ext}
		for _, kind := range []string{"", "NodePort", "LoadBalancer", "ClusterIP"} {
			s := full
			s.Type = kind
			serve(t, d, testbed.Backends(bed.P1), s)
			answered(t, requests(s.Frontends(), clients...), anyone, "p1")
			// Outside lists the frontends that only LoadBalancer has first.
			unserved(t, requests(full.Outside()[:len(full.Outside())-len(s.Outside())], clients...))
		}
	})
}

// TestChangePort renumbers the port of a Service. The old one is refused like
// any port that is not served.
func TestChangePort(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		unlimitICMP(t)
		s := testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer"}
		for _, ports := range [][2]int{{80, 81}, {81, 80}} {
			s.Port = ports[0]
			serve(t, d, testbed.Backends(bed.P1), s)
			answered(t, requests(s.Frontends(), bed.C1, bed.Ext), anyone, "p1")
			refused(t, 1, requests([]testbed.Frontend{at(s.ClusterIP(), uint16(ports[1]))}, bed.C1, bed.Ext)...)
			unserved(t, requests([]testbed.Frontend{at(s.LoadBalancer(), uint16(ports[1]))}, bed.C1, bed.Ext))
		}
	})
}

// TestChangePolicy flips externalTrafficPolicy to and fro.
func TestChangePolicy(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer", External: true}
		for range 2 {
			s.Spec = nil
			serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
			answered(t, requests(s.Outside(), bed.Ext), bed.Node, "p1", "r1")
			s.Spec = externalLocal
			serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
			answered(t, requests(s.Outside(), bed.Ext), bed.Ext, "p1")
			answered(t, requests(s.Outside(), bed.C1), bed.C1, "p1", "r1")
		}
	})
}

// TestAddressPassesOn gives the addresses of a deleted Service to another, and
// takes both steps in one.
func TestAddressPassesOn(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		first := testbed.Service{Name: "first", Number: 1, Type: "LoadBalancer"}
		second := testbed.Service{Name: "second", Number: 1, Type: "LoadBalancer"}
		rs := requests(first.Frontends(), bed.C1, bed.Ext)
		serve(t, d, testbed.Backends(bed.P1), first)
		answered(t, rs, anyone, "p1")
		withdraw(t, d, first)
		unserved(t, rs)
		serve(t, d, testbed.Backends(bed.P2), second)
		answered(t, rs, anyone, "p2")
		put(t, d, "first.yaml", bed.With(first, testbed.Backends(bed.P1)))
		withdraw(t, d, second)
		answered(t, rs, anyone, "p1")
	})
}

// TestRivals publishes two Services with the same external IP and port: one
// has it, the log names the other and the address, and when the one goes the other
// has it.
func TestRivals(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		shared := []string{`externalIPs: ["192.168.50.222", "fd50::222"]`}
		one := testbed.Service{Name: "one", Number: 1, Spec: shared}
		two := testbed.Service{Name: "two", Number: 2, Spec: shared}
		f := testbed.Frontend{V4: ap("192.168.50.222:80"), V6: ap("[fd50::222]:80")}
		rs := requests([]testbed.Frontend{f}, bed.C1, bed.Ext)
		serve(t, d, testbed.Backends(bed.P2), two)
		answered(t, rs, anyone, "p2")
		serve(t, d, testbed.Backends(bed.P1), one) // the first by name
		answered(t, rs, anyone, "p1")
		for _, s := range []testbed.Service{one, two} {
			answered(t, requests([]testbed.Frontend{s.ClusterIP()}, bed.C1), bed.C1, map[string]string{"one": "p1", "two": "p2"}[s.Name])
		}
		logged := false
		for line := range strings.Lines(d.Log()) {
			logged = logged || strings.Contains(line, "Service default/two") && strings.Contains(line, f.V4.String())
		}
		if !logged {
			t.Error("the log does not name the Service that lost and the address")
		}
		withdraw(t, d, one)
		answered(t, rs, anyone, "p2")
	})
}

// TestSamePorts checks connections that a mix-up would confuse: one client
// port, one service port, two Services; and a ClusterIP's port that is
// also a node port.
func TestSamePorts(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		services := []testbed.Service{{Name: "one", Number: 1, Type: "LoadBalancer"}, {Name: "two", Number: 2, Type: "LoadBalancer"}}
		serve(t, d, testbed.Backends(bed.P1), services[0])
		serve(t, d, testbed.Backends(bed.P2), services[1])
		names := []string{"p1", "p2"}
		port := uint16(46000)
		for _, from := range []*testbed.Host{bed.C1, bed.Ext} {
			for _, frontend := range []func(testbed.Service) testbed.Frontend{testbed.Service.ClusterIP, testbed.Service.LoadBalancer, testbed.Service.NodePort} {
				for _, network := range networks {
					for _, four := range families {
						port++
						apart(t, from, network, port, names, frontend(services[0]).Addr(four), frontend(services[1]).Addr(four))
					}
				}
			}
		}
		equal := testbed.Service{Name: "equal", Number: 3, Port: 30001}
		serve(t, d, testbed.Backends(bed.R1), equal)
		answered(t, requests([]testbed.Frontend{equal.ClusterIP()}, bed.C1), bed.C1, "r1")
		answered(t, requests([]testbed.Frontend{services[0].NodePort()}, bed.C1), bed.Node, "p1")
	})
}

// apart opens two sessions from one port and uses both in turn.
func apart(t *testing.T, from *testbed.Host, network string, port uint16, names []string, to ...netip.AddrPort) {
	t.Helper()
	var sessions []*testbed.Session
	for _, a := range to {
		s, err := from.Dial(t.Context(), network, a, testbed.From{Port: port})
		if err != nil {
			t.Errorf("%s from %s to %s: %v", network, from.Name, a, err)
			return
		}
		defer s.Reset()
		sessions = append(sessions, s)
	}
	for range 2 {
		for i, s := range sessions {
			if got := testbed.Outcome(s.Ask()); got != names[i] {
				t.Errorf("%s from %s to %s: %s, want %s", network, from.Name, fmt.Sprint(to[i]), got, names[i])
			}
		}
	}
}
