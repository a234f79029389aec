package wire

import (
	"testing"

	"kube-ipvs/test/testbed"
)

// unlimitICMP lifts the kernel's limit on ICMP errors, one a second for each
// client: it is the host's choice, and hides which UDP packets we refuse.
func unlimitICMP(t *testing.T) {
	t.Helper()
	before := on(t, bed.Node, "sysctl -n net.ipv4.icmp_ratelimit net.ipv6.icmp.ratelimit | xargs")
	on(t, bed.Node, "sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0")
	undo(t, bed.Node, "set -- "+before+"; sysctl -qw net.ipv4.icmp_ratelimit=$1 net.ipv6.icmp.ratelimit=$2")
}

// TestRefuse follows a Service that has no endpoint, gets one and loses it. One
// without any endpoint is refused even where policy Local would drop: there is
// nothing to wait for.
func TestRefuse(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		unlimitICMP(t)
		s := testbed.Service{Name: "empty", Number: 1, Type: "LoadBalancer", External: true}
		all := requests(s.Frontends(), bed.C1, bed.Node, bed.Ext)
		local := testbed.Service{Name: "local", Number: 2, Type: "LoadBalancer", External: true, Spec: append([]string{"internalTrafficPolicy: Local"}, externalLocal...)}
		serve(t, d, nil, s, local)
		refused(t, 10, all...)
		refused(t, 2, requests(local.Frontends(), bed.C1, bed.Node, bed.Ext)...)
		serve(t, d, testbed.Backends(bed.R1), s)
		answered(t, all, anyone, "r1")
		serve(t, d, nil, s)
		refused(t, 2, all...)
	})
}

// TestRefuseLimited checks that with the kernel's limit on ICMP errors in
// force TCP is refused at once all the same: resets are none.
func TestRefuseLimited(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "empty", Number: 1, Type: "LoadBalancer", Protocols: []string{"TCP"}}
		serve(t, d, nil, s)
		for _, r := range requests(s.Frontends(), bed.C1, bed.Node, bed.Ext) {
			if r.network == "tcp" {
				refused(t, 25, r)
			}
		}
	})
}
