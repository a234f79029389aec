package wire

import (
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// TestSCTP asks for a Service over SCTP.
func TestSCTP(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "signal", Number: 1, Type: "LoadBalancer", Protocols: []string{"SCTP"}}
		serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
		for _, from := range []*testbed.Host{bed.C1, bed.Node, bed.Ext} {
			answered(t, sctp(s.Outside(), from), bed.Node, "p1", "r1")
		}
		answered(t, sctp([]testbed.Frontend{s.ClusterIP()}, bed.C1), bed.C1, "p1", "r1")
		answered(t, sctp([]testbed.Frontend{s.ClusterIP()}, bed.Node, bed.Ext), bed.Node, "p1", "r1")
		// Only SCTP serves the port: the same port of another protocol is refused.
		refused(t, 1, requests([]testbed.Frontend{s.ClusterIP()}, bed.C1)...)
	})
}

func sctp(frontends []testbed.Frontend, from ...*testbed.Host) []request {
	var out []request
	for _, f := range frontends {
		for _, h := range from {
			for _, four := range families {
				out = append(out, request{from: h, network: "sctp", to: f.Addr(four)})
			}
		}
	}
	return out
}
