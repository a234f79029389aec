package wire

import (
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// TestColdNeighbour asks for a remote endpoint while the node does not know the
// link-layer address of the endpoint's node: the first packet waits for it.
func TestColdNeighbour(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer"}
		serve(t, d, testbed.Backends(bed.R1), s)
		for _, r := range requests(s.Frontends(), bed.C1, bed.Node, bed.Ext) {
			on(t, bed.Node, "ip neigh flush dev eth0; ip -6 neigh flush dev eth0")
			r.with.Patience = 2 * fast // sooner than a SYN is sent again
			answered(t, []request{r}, anyone, "r1")
		}
	})
}
