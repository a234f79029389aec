package wire

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"kube-ipvs/test/lib/testbed"
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
		entry := on(t, bed.Node, fmt.Sprintf("ipset list KIPVS-REJECT | grep '^%s,tcp:80 packets'", s.ClusterIP().V4.Addr()))
		if n, err := strconv.Atoi(strings.Fields(entry)[2]); err != nil || n < 30 || n >= 60 { // a SYN may come twice
			t.Errorf("30 requests, counted: %s", entry)
		}
		refused(t, 2, requests(local.Frontends(), bed.C1, bed.Node, bed.Ext)...)
		other := testbed.Service{Name: "other", Number: 3, Port: int(s.NodePort().V4.Port()), External: true}
		serve(t, d, testbed.Backends(bed.P1), other)
		answered(t, requests(other.Frontends(), bed.C1, bed.Node, bed.Ext), anyone, "p1")
		t.Run("beside host ports", func(t *testing.T) {
			hostPortsBehind(t, "80,30001")
			refused(t, 2, all...)
		})
		serve(t, d, testbed.Backends(bed.R1), s)
		answered(t, all, anyone, "r1")
		serve(t, d, nil, s)
		refused(t, 2, all...)
	})
}

// hostPortsBehind has another program take ports of all local addresses for p1, behind our
// rules: at the end of our table, and in tables of its own.
func hostPortsBehind(t *testing.T, ports string) {
	t.Helper()
	var add, remove strings.Builder
	for _, f := range []struct {
		tool, table string
		to          netip.Addr
	}{{"iptables-nft", "ip", bed.P1.IPv4}, {"ip6tables-nft", "ip6", bed.P1.IPv6}} {
		to := netip.AddrPortFrom(f.to, testbed.TargetPort)
		fmt.Fprintf(&remove, "nft delete table %s hostports\n", f.table)
		for _, hook := range []string{"prerouting", "output"} {
			rule := fmt.Sprintf("%s -p tcp -m multiport --dports %s -m addrtype --dst-type LOCAL -j DNAT --to-destination %s", strings.ToUpper(hook), ports, to)
			fmt.Fprintf(&add, "%s -t nat -A %s\n", f.tool, rule)
			fmt.Fprintf(&remove, "%s -t nat -D %s\n", f.tool, rule)
			fmt.Fprintf(&add, "nft 'table %s hostports { chain %s { type nat hook %s priority -90; tcp dport {%s} fib daddr type local dnat to %s; }; }'\n", f.table, hook, hook, ports, to)
		}
	}
	undo(t, bed.Node, remove.String())
	on(t, bed.Node, add.String())
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
