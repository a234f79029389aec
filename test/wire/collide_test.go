package wire

import (
	"testing"

	"kube-ipvs/test/testbed"
)

// TestOnePort connects from one client port to all frontends of a Service with
// one endpoint, one after the other: what IPVS and conntrack remember of the
// connection before must not hold up the next.
func TestOnePort(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer", External: true}
		serve(t, d, testbed.Backends(bed.P1), s)
		port := uint16(47000)
		for _, from := range []*testbed.Host{bed.C1, bed.Node, bed.Ext} {
			for _, first := range s.Frontends() {
				for _, second := range s.Frontends() {
					for _, network := range networks {
						for _, four := range families {
							port++
							with := testbed.From{Port: port, Patience: 2 * fast}
							for i, to := range []testbed.Frontend{first, second} {
								a, err := from.Ask(t.Context(), network, to.Addr(four), with)
								if got := testbed.Outcome(a, err); got != "p1" {
									t.Errorf("%s from %s:%d, %s then %s, %d: %s", network, from.Name, port, first.Name, second.Name, i, got)
								}
							}
						}
					}
				}
			}
		}
	})
}
