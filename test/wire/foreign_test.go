package wire

import (
	"fmt"
	"testing"

	"kube-ipvs/test/testbed"
)

// TestExternalIPOfNode checks external IPs that are addresses of nodes: the
// Service's port is the Service's, and all else stays with the node.
func TestExternalIPOfNode(t *testing.T) {
	for _, owner := range []*testbed.Host{bed.Node2, bed.Node} {
		t.Run(owner.Name, func(t *testing.T) {
			inModes(t, func(t *testing.T, d *testbed.Daemon) {
				clients := []*testbed.Host{bed.C1, bed.Node}
				if owner == bed.Node {
					clients = append(clients, bed.Ext, bed.Node2)
				}
				s := testbed.Service{Name: "web", Number: 1, Spec: []string{fmt.Sprintf("externalIPs: [%q, %q]", owner.IPv4, owner.IPv6)}}
				serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
				f := testbed.Frontend{V4: ap(owner.IPv4.String() + ":80"), V6: ap("[" + owner.IPv6.String() + "]:80")}
				answered(t, requests([]testbed.Frontend{f}, clients...), bed.Node, "p1", "r1")
				answered(t, requests([]testbed.Frontend{at(f, 2222)}, clients...), anyone, "daemon of "+owner.Name)
				for _, h := range clients {
					on(t, h, fmt.Sprintf("ping -c1 -W1 %s; ping -c1 -W1 %s", owner.IPv4, owner.IPv6))
				}
				// The other way round it works as before, too.
				back := testbed.Frontend{V4: ap("192.168.50.1:2222"), V6: ap("[fd50::1]:2222")}
				answered(t, requests([]testbed.Frontend{back}, bed.Node2), bed.Node2, "daemon of node")
			})
		})
	}
}
