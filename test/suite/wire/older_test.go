package wire

import (
	"sync"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// TestTCPOlder checks connections that were begun before their Service was
// there: the client's TCP sends its SYN again, and conntrack remembers the
// first one as a flow without NAT.
func TestTCPOlder(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		settled(t, d)
		s := testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer", External: true}
		frontends := []testbed.Frontend{s.ClusterIP(), s.LoadBalancer(), s.ExternalIP()}
		swallow(t, frontends)
		// The first SYN must have been there, and got lost, before the Service is.
		seen, err := bed.Node.Capture("eth0")
		if err != nil {
			t.Fatal(err)
		}
		defer seen.Close()
		var wg sync.WaitGroup
		for _, r := range tcpOnly(requests(frontends, bed.Ext)) {
			r.with.Patience = 5 * time.Second
			wg.Go(func() { answeredOnce(t, r, "p1") })
			err := seen.Await(t.Context(), time.Second, func(p testbed.Packet) bool { return p.To == r.to })
			if err != nil {
				t.Fatalf("%s: %v", r, err)
			}
		}
		serve(t, d, testbed.Backends(bed.P1), s)
		wg.Wait()
	})
}

// swallow makes the LAN a place where packets for the frontends vanish, rather
// than one where the node reports at once that it finds no neighbour.
func swallow(t *testing.T, frontends []testbed.Frontend) {
	t.Helper()
	addrs := []string{"192.168.50.254", "fd50::fe"} // the default gateways
	for _, f := range frontends {
		addrs = append(addrs, f.V4.Addr().String(), f.V6.Addr().String())
	}
	for _, a := range addrs {
		on(t, bed.Node, "ip neigh replace "+a+" lladdr 02:00:00:00:00:fe dev eth0 nud permanent")
		undo(t, bed.Node, "ip neigh del "+a+" dev eth0")
	}
}
