package wire

import (
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// clientPort is a port that no client has used yet.
var clientPort uint16 = 47000

// TestOnePort asks two frontends of a Service with one endpoint, one after the other
// from the same client port: the entries of IPVS and conntrack for the first
// connection must not hold up the second.
func TestOnePort(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer", External: true}
		serve(t, d, testbed.Backends(bed.P1), s)
		for _, first := range s.Frontends() {
			for _, second := range s.Frontends() {
				for _, r := range requests([]testbed.Frontend{first}, bed.C1, bed.Node, bed.Ext) {
					if first == second {
						continue // the client's own TCP would not have it
					}
					clientPort++
					r.with = testbed.From{Port: clientPort, Patience: 2 * fast}
					answeredOnce(t, r, "p1")
					r.to = second.Addr(r.to.Addr().Is4())
					answeredOnce(t, r, "p1")
				}
			}
		}
	})
}

func answeredOnce(t *testing.T, r request, want string) {
	t.Helper()
	if got := testbed.Outcome(r.from.Ask(t.Context(), r.network, r.to, r.with)); got != want {
		t.Errorf("%s, port %d: %s, want %s", r, r.with.Port, got, want)
	}
}
