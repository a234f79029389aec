package wire

import (
	"fmt"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// TestPodTraffic checks the ways to know traffic from pods: a pod's own address
// is seen through a ClusterIP, all others' is not. c1 is a pod by each of them.
func TestPodTraffic(t *testing.T) {
	for _, flags := range [][]string{
		{"--detect-local-mode=BridgeInterface", "--pod-bridge-interface=vc1"},
		{"--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=v"},
	} {
		t.Run(flags[0], func(t *testing.T) {
			inModes(t, func(t *testing.T, d *testbed.Daemon) {
				s := testbed.Service{Name: "web", Number: 1}
				serve(t, d, testbed.Backends(bed.P1), s)
				cluster := []testbed.Frontend{s.ClusterIP()}
				answered(t, requests(cluster, bed.C1), bed.C1, "p1")
				answered(t, requests(cluster, bed.Node, bed.Ext), bed.Node, "p1")
				// The rules stand as they were read: a restart has nothing to write.
				if err := d.Restart(); err != nil {
					t.Fatal(err)
				}
				settled(t, d)
			}, flags...)
		})
	}
}

// TestNodeCIDR follows the podCIDRs of the Node object, without a restart.
func TestNodeCIDR(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		node := func(v4, v6 string) {
			put(t, d, "node.yaml", fmt.Sprintf("apiVersion: v1\nkind: Node\nmetadata: {name: node}\nspec: {podCIDRs: [%q, %q]}\n", v4, v6))
		}
		s := testbed.Service{Name: "web", Number: 1}
		node(bed.PodCIDR4.String(), bed.PodCIDR6.String())
		serve(t, d, testbed.Backends(bed.P1), s)
		cluster := []testbed.Frontend{s.ClusterIP()}
		answered(t, requests(cluster, bed.C1), bed.C1, "p1")
		answered(t, requests(cluster, bed.Ext), bed.Node, "p1")

		node("10.99.0.0/16", "fd99::/64")
		settled(t, d)
		answered(t, requests(cluster, bed.C1), bed.Node, "p1")

		node(bed.PodCIDR4.String(), bed.PodCIDR6.String())
		settled(t, d)
		answered(t, requests(cluster, bed.C1), bed.C1, "p1")
	}, "--detect-local-mode=NodeCIDR")
}

// TestPrimaryNodePorts serves node ports on the node's own addresses, and on
// no others that it has.
func TestPrimaryNodePorts(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		on(t, bed.Node, "ip addr add 192.168.50.77/32 dev eth0; ip -6 addr add fd50::77/128 dev eth0 nodad preferred_lft 0")
		undo(t, bed.Node, "ip addr del 192.168.50.77/32 dev eth0; ip -6 addr del fd50::77/128 dev eth0")
		put(t, d, "node.yaml", fmt.Sprintf("apiVersion: v1\nkind: Node\nmetadata: {name: node}\nstatus: {addresses: [{type: InternalIP, address: %q}, {type: InternalIP, address: %q}]}\n",
			bed.Node.IPv4, bed.Node.IPv6))
		s := testbed.Service{Name: "web", Number: 1, Type: "NodePort"}
		serve(t, d, testbed.Backends(bed.P1), s)
		answered(t, requests([]testbed.Frontend{s.NodePort()}, bed.Ext), bed.Node, "p1")
		other := s.NodePort()
		other.V4 = ap(fmt.Sprintf("192.168.50.77:%d", other.V4.Port()))
		other.V6 = ap(fmt.Sprintf("[fd50::77]:%d", other.V6.Port()))
		refused(t, 1, requests([]testbed.Frontend{other}, bed.Ext)...)
	}, "--nodeport-addresses=primary")
}
