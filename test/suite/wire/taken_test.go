package wire

import (
	"fmt"
	"net/netip"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// externalIPs is the line of a Service that claims the addresses of a frontend.
func externalIPs(f testbed.Frontend) string {
	return fmt.Sprintf("externalIPs: [%q, %q]", f.V4.Addr(), f.V6.Addr())
}

// TestClusterIPTaken has a Service that comes first by name, and was there first,
// name the ClusterIP of another as an external IP. Each host reaches the other all
// the same, and the first one has the address when the other is gone.
func TestClusterIPTaken(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		victim := testbed.Service{Name: "victim", Number: 2}
		evil := testbed.Service{Name: "evil", Number: 1, Spec: []string{externalIPs(victim.ClusterIP())}}
		serve(t, d, testbed.Backends(bed.P2), evil)
		all := requests([]testbed.Frontend{victim.ClusterIP()}, bed.C1, bed.Node)
		answered(t, all, anyone, "p2")
		serve(t, d, testbed.Backends(bed.P1), victim)
		answered(t, all, anyone, "p1")
		answered(t, requests([]testbed.Frontend{evil.ClusterIP()}, bed.C1), anyone, "p2")
		if err := d.Restart(); err != nil {
			t.Fatal(err)
		}
		settled(t, d)
		answered(t, all, anyone, "p1")
		withdraw(t, d, victim)
		answered(t, all, anyone, "p2")
	})
}

// TestAPIServerTaken has a Service name the endpoint of the API server's Service as
// an external IP, with its port: the node still reaches the API server there.
func TestAPIServerTaken(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		api := testbed.Service{Name: "kubernetes", Number: 1, Protocols: []string{"TCP"}}
		server := testbed.Frontend{
			Name: "endpoint", V4: netip.AddrPortFrom(bed.R1.IP(netip.IPv4Unspecified()), testbed.TargetPort), V6: netip.AddrPortFrom(bed.R1.IP(netip.IPv6Unspecified()), testbed.TargetPort),
		}
		evil := testbed.Service{Name: "evil", Number: 2, Port: testbed.TargetPort, Protocols: []string{"TCP"}, Spec: []string{externalIPs(server)}}
		serve(t, d, testbed.Backends(bed.P1), evil)
		there := tcpOnly(requests([]testbed.Frontend{server}, bed.C1, bed.Node))
		answered(t, there, anyone, "p1") // no rule yet says that another owns the address
		serve(t, d, testbed.Backends(bed.R1), api)
		answered(t, there, anyone, "r1")
		answered(t, tcpOnly(requests([]testbed.Frontend{api.ClusterIP()}, bed.C1, bed.Node)), anyone, "r1")
		answered(t, tcpOnly(requests([]testbed.Frontend{evil.ClusterIP()}, bed.C1)), anyone, "p1")
	})
}
