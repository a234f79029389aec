package wire

import (
	"fmt"
	"net/netip"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// TestExternalIPOfNode checks external IPs that are addresses of nodes: the
// Service's port is the Service's, and all else stays with the node.
func TestExternalIPOfNode(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		owners := []*testbed.Host{bed.Node, bed.Node2}
		for i, h := range owners {
			s := testbed.Service{Name: "on-" + h.Name, Number: i + 1, Spec: []string{fmt.Sprintf("externalIPs: [%q, %q]", h.IPv4, h.IPv6)}}
			serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
		}
		inside := []*testbed.Host{bed.C1, bed.Node}
		shared(t, bed.Node2, inside...)
		shared(t, bed.Node, append(inside, bed.Ext, bed.Node2)...)
	})
}

// shared checks that clients find the Service on port 80 of a node's address,
// and the node on others.
func shared(t *testing.T, owner *testbed.Host, clients ...*testbed.Host) {
	t.Helper()
	f := testbed.Frontend{V4: netip.AddrPortFrom(owner.IPv4, 80), V6: netip.AddrPortFrom(owner.IPv6, 80)}
	answered(t, requests([]testbed.Frontend{f}, clients...), bed.Node, "p1", "r1")
	answered(t, requests([]testbed.Frontend{at(f, 2222)}, clients...), anyone, "daemon of "+owner.Name)
	for _, h := range clients {
		on(t, h, fmt.Sprintf("ping -c1 -W1 %s; ping -c1 -W1 %s", owner.IPv4, owner.IPv6))
	}
}
