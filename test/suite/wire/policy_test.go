package wire

import (
	"fmt"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

var externalLocal = []string{"externalTrafficPolicy: Local"}

// TestExternalLocal follows a Service whose external frontends may only use
// endpoints of this node, for clients from outside: with such an endpoint and
// without, and through the change from one to the other.
func TestExternalLocal(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "local", Number: 1, Type: "LoadBalancer", External: true, Spec: externalLocal}
		serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
		for _, h := range []*testbed.Host{bed.Ext, bed.Node2} {
			answered(t, requests(s.Outside(), h), h, "p1")
		}
		insideReachesAll(t, s, "p1", "r1")
		// The policy is about external frontends alone.
		answered(t, requests([]testbed.Frontend{s.ClusterIP()}, bed.Ext), bed.Node, "p1", "r1")

		serve(t, d, testbed.Backends(bed.R1), s)
		leakless(t, s, bed.Ext, s.Outside())
		insideReachesAll(t, s, "r1")

		serve(t, d, testbed.Backends(bed.P2, bed.R1), s)
		answered(t, requests(s.Outside(), bed.Ext), bed.Ext, "p2")
		insideReachesAll(t, s, "p2", "r1")
	})
}

// insideReachesAll asks from a pod and from the node, which policy Local does not
// concern. Their endpoints see their own addresses.
func insideReachesAll(t *testing.T, s testbed.Service, names ...string) {
	t.Helper()
	for _, h := range []*testbed.Host{bed.C1, bed.Node} {
		answered(t, requests(s.Outside(), h), h, names...)
	}
	for _, r := range requests(s.Outside(), bed.Node) {
		r.with.Addr = bed.Node.IP(r.to.Addr())
		answered(t, []request{r}, bed.Node, names...)
	}
}

// leakless asks for frontends that must drop: no packet reaches an endpoint,
// none comes back.
func leakless(t *testing.T, s testbed.Service, from *testbed.Host, frontends []testbed.Frontend) {
	t.Helper()
	atEndpoint := watch(t, bed.R1, bed.R1.IPv4, bed.R1.IPv6)
	lost(t, requests(frontends, from)...)
	atEndpoint()
}

// TestInternalLocal does the same for the ClusterIP, where the policy is for
// all clients.
func TestInternalLocal(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "internal", Number: 1, Type: "NodePort", Spec: []string{"internalTrafficPolicy: Local"}}
		cluster := []testbed.Frontend{s.ClusterIP()}
		serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
		answered(t, requests(cluster, bed.C1), bed.C1, "p1")
		answered(t, requests(cluster, bed.Node, bed.Ext), bed.Node, "p1")
		answered(t, requests(s.Outside(), bed.C1, bed.Ext), bed.Node, "p1", "r1")

		serve(t, d, testbed.Backends(bed.R1), s)
		for _, h := range []*testbed.Host{bed.C1, bed.Node, bed.Ext} {
			leakless(t, s, h, cluster)
		}
		answered(t, requests(s.Outside(), bed.C1, bed.Ext), bed.Node, "r1")

		serve(t, d, testbed.Backends(bed.P2, bed.R1), s)
		answered(t, requests(cluster, bed.C1), bed.C1, "p2")
	})
}

// TestAcceptedBeforeUs has a chain in front of those of kube-ipvs in table mangle
// accept everything, as Calico's does with a preDNAT policy. Packets that policies and
// source ranges forbid reach no endpoint all the same.
func TestAcceptedBeforeUs(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		ranged := testbed.Service{Name: "ranged", Number: 1, Type: "LoadBalancer", Spec: []string{`loadBalancerSourceRanges: ["203.0.113.0/24", "2001:db8::/32"]`}}
		away := testbed.Service{Name: "away", Number: 2, Type: "LoadBalancer", Spec: append([]string{"internalTrafficPolicy: Local"}, externalLocal...)}
		serve(t, d, testbed.Backends(bed.P1), ranged)
		serve(t, d, testbed.Backends(bed.R1), away)
		for _, tool := range []string{"iptables", "ip6tables"} {
			undo(t, bed.Node, fmt.Sprintf("%[1]s -t mangle -D PREROUTING -j cali-PREROUTING; %[1]s -t mangle -F cali-PREROUTING; %[1]s -t mangle -X cali-PREROUTING", tool))
			on(t, bed.Node, fmt.Sprintf("%[1]s -t mangle -N cali-PREROUTING && %[1]s -t mangle -A cali-PREROUTING -j ACCEPT && %[1]s -t mangle -I PREROUTING -j cali-PREROUTING", tool))
		}
		rs := requests([]testbed.Frontend{ranged.LoadBalancer(), away.LoadBalancer(), away.NodePort()}, bed.Ext)
		rs = append(rs, requests([]testbed.Frontend{away.ClusterIP()}, bed.C1)...)
		for _, r := range rs {
			r.with.Patience = fast
			if got := testbed.Outcome(r.from.Ask(t.Context(), r.network, r.to, r.with)); hostOf(got) != nil {
				t.Errorf("%s: %s answered", r, got)
			}
		}
	})
}
