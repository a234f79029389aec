package wire

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// at returns a frontend with another port.
func at(f testbed.Frontend, port uint16) testbed.Frontend {
	return testbed.Frontend{Name: f.Name, V4: netip.AddrPortFrom(f.V4.Addr(), port), V6: netip.AddrPortFrom(f.V6.Addr(), port)}
}

// TestGuard checks that daemons of the node, which listen on all addresses,
// cannot be reached through addresses of Services, and can through the node's.
func TestGuard(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		unlimitICMP(t)
		s := testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer", External: true}
		serve(t, d, testbed.Backends(bed.P1), s)
		clients := []*testbed.Host{bed.C1, bed.Node, bed.Ext}
		for _, port := range []uint16{2222, 9, testbed.TargetPort} {
			refused(t, 5, requests([]testbed.Frontend{at(s.ClusterIP(), port)}, clients...)...)
		}
		// A node port is one of the node's addresses, not of the ClusterIP.
		refused(t, 5, requests([]testbed.Frontend{at(s.ClusterIP(), s.NodePort().V4.Port())}, clients...)...)
		answered(t, requests([]testbed.Frontend{at(s.NodePort(), 2222)}, clients...), anyone, "daemon of node")
		for _, h := range clients {
			for _, four := range families {
				on(t, h, fmt.Sprintf("ping -c1 -W1 %s", s.ClusterIP().Addr(four).Addr()))
			}
		}
	})
}

// TestBackDoors checks that the private images behind frontends cannot be
// dialled: policies would not hold there.
func TestBackDoors(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer"}
		serve(t, d, testbed.Backends(bed.P1), s)
		on(t, bed.Ext, "ip route add 240.0.0.0/4 via 192.168.50.1; ip -6 route add 4000::/2 via fd50::1")
		undo(t, bed.Ext, "ip route del 240.0.0.0/4; ip -6 route del 4000::/2")
		nodePort := testbed.Frontend{V4: ap("252.0.0.1:30001"), V6: ap("[8000::1]:30001")}
		lb := testbed.Frontend{V4: ap("240.168.50.201:80"), V6: ap("[5d50::201]:80")}
		cluster := testbed.Frontend{V4: ap("242.96.0.101:80"), V6: ap("[5d96::101]:80")}
		lost(t, requests([]testbed.Frontend{lb, cluster}, bed.C1, bed.Ext)...)
		lost(t, requests([]testbed.Frontend{nodePort}, bed.C1)...)
		servers := on(t, bed.Node, "ipvsadm -Ln")
		for _, f := range []testbed.Frontend{nodePort, lb} {
			for _, four := range families {
				if a := f.Addr(four).String(); !strings.Contains(servers, a) {
					t.Errorf("there is no virtual server %s: the test asks for nothing", a)
				}
			}
		}
	})
}

// TestNotOurs checks that external addresses do not become the node's: it
// must not answer ARP for them, nor keep packets to other ports.
func TestNotOurs(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer", External: true}
		serve(t, d, testbed.Backends(bed.P1), s)
		var addrs []netip.Addr
		for _, f := range []testbed.Frontend{s.LoadBalancer(), s.ExternalIP()} {
			addrs = append(addrs, f.V4.Addr(), f.V6.Addr())
		}
		for _, a := range addrs {
			if got := on(t, bed.Node, "ip route get "+a.String()); strings.HasPrefix(got, "local") {
				t.Errorf("%s is local: %s", a, got)
			}
		}
		unanswered(t, addrs)
	})
}

// unanswered checks that no host on the LAN claims the addresses. The outside
// client has a route to the bed's pool; it asks the link instead.
func unanswered(t *testing.T, addrs []netip.Addr) {
	t.Helper()
	var ask, forget strings.Builder
	for _, a := range addrs {
		host := netip.PrefixFrom(a, a.BitLen())
		fmt.Fprintf(&ask, "ip route add %s dev eth0; (ping -c1 -W1 %s >/dev/null || true) & ", host, a)
		fmt.Fprintf(&forget, "ip route del %s; ip neigh flush to %s; ", host, a)
	}
	undo(t, bed.Ext, forget.String())
	on(t, bed.Ext, ask.String()+"wait")
	for _, a := range addrs {
		if out := on(t, bed.Ext, "ip neigh show "+a.String()); out == "" || strings.Contains(out, "lladdr") {
			t.Errorf("neighbour entry of %s: %q, want one that failed", a, out)
		}
	}
}
