package wire

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

var backends = []string{"nft", "legacy"}

// where checks that our rules are in one variant of iptables alone.
func where(t *testing.T, backend string) {
	t.Helper()
	for _, tool := range []string{"iptables", "ip6tables"} {
		for _, b := range backends {
			rules := on(t, bed.Node, tool+"-"+b+"-save")
			if ours := strings.Contains(rules, "NETMAP"); ours != (b == backend) {
				t.Errorf("rules of ours in %s-%s: %v, with --iptables-backend %s", tool, b, ours, backend)
			}
		}
	}
}

// TestCleanupFindsBackend checks that cleanup needs not be told which variant
// kube-ipvs used.
func TestCleanupFindsBackend(t *testing.T) {
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			d := start(t, "--iptables-backend", backend)
			serve(t, d, testbed.Backends(bed.P1), testbed.Service{Name: "web", Number: 1})
			ctx, cancel := context.WithTimeout(t.Context(), testbed.Limit(10*time.Second))
			defer cancel()
			if err := d.Stop(); err != nil {
				t.Fatal(err)
			}
			if out, err := bed.Node.Shell(ctx, "exec "+binary+" cleanup"); err != nil {
				t.Errorf("%v: %.300s", err, out)
			}
			if sets := on(t, bed.Node, "ipset list -n"); sets != "" {
				t.Errorf("sets are left:\n%s", sets)
			}
		})
	}
}

// TestDropPolicy runs with each variant of iptables on a host whose INPUT and FORWARD
// drop packets that no rule accepts, with only the rules that such a host needs.
func TestDropPolicy(t *testing.T) {
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			inModes(t, func(t *testing.T, d *testbed.Daemon) {
				shut(t, backend)
				s := testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer", External: true}
				empty := testbed.Service{Name: "empty", Number: 2, Type: "LoadBalancer", Protocols: []string{"TCP"}}
				serve(t, d, nil, empty)
				serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
				where(t, backend)
				answered(t, requests(s.Frontends(), bed.C1, bed.Node, bed.Ext), anyone, "p1", "r1")
				refused(t, 2, tcpOnly(requests(empty.Frontends(), bed.C1, bed.Node, bed.Ext))...)
				lost(t, requests([]testbed.Frontend{at(s.NodePort(), 2222)}, bed.Ext)...)
			}, "--iptables-backend", backend)
		})
	}
}

// shut makes the node a host that drops by default.
func shut(t *testing.T, backend string) {
	t.Helper()
	script := func(policy, verb string) string {
		var out strings.Builder
		for tool, icmp := range map[string]string{"iptables-" + backend: "icmp", "ip6tables-" + backend: "ipv6-icmp"} {
			fmt.Fprintf(&out, "%[1]s -P INPUT %[2]s; %[1]s -P FORWARD %[2]s; ", tool, policy)
			for _, match := range []string{"-i lo", "-m conntrack --ctstate RELATED,ESTABLISHED", "-p " + icmp} {
				fmt.Fprintf(&out, "%s %s INPUT %s -j ACCEPT; ", tool, verb, match)
			}
		}
		return out.String()
	}
	on(t, bed.Node, script("DROP", "-A"))
	undo(t, bed.Node, script("ACCEPT", "-D"))
}

// TestNodePortAddresses limits node ports to some of the node's addresses.
func TestNodePortAddresses(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		unlimitICMP(t)
		added := addAddress(t, "192.168.77.1/32", "fd77::1/128")
		s := testbed.Service{Name: "web", Number: 1, Type: "NodePort"}
		serve(t, d, testbed.Backends(bed.P1), s)
		answered(t, requests([]testbed.Frontend{s.NodePort()}, bed.C1, bed.Node, bed.Ext), bed.Node, "p1")
		refused(t, 1, requests([]testbed.Frontend{at(added, s.NodePort().V4.Port())}, bed.C1, bed.Ext)...)
		// A UDP socket that listens on all addresses would answer from another.
		answered(t, tcpOnly(requests([]testbed.Frontend{at(added, 2222)}, bed.C1, bed.Ext)), anyone, "daemon of node")
	}, "--nodeport-addresses", "192.168.50.0/24,fd50::/64")
}

// TestNodePortNewAddress asks for a node port on an address at once after the
// node got it: no write of ours is needed, nor waited for.
func TestNodePortNewAddress(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "web", Number: 1, Type: "NodePort"}
		serve(t, d, testbed.Backends(bed.P1), s)
		added := addAddress(t, "192.168.50.77/24", "fd50::77/64")
		answered(t, requests([]testbed.Frontend{at(added, s.NodePort().V4.Port())}, bed.Ext, bed.C1), anyone, "p1")
	})
}

// addAddress gives the node two more addresses, which others reach through it.
func addAddress(t *testing.T, v4, v6 string) testbed.Frontend {
	t.Helper()
	on(t, bed.Node, fmt.Sprintf("ip addr add %s dev eth0; ip -6 addr add %s dev eth0 nodad", v4, v6))
	undo(t, bed.Node, fmt.Sprintf("ip addr del %s dev eth0; ip -6 addr del %s dev eth0", v4, v6))
	a4, _, _ := strings.Cut(v4, "/")
	a6, _, _ := strings.Cut(v6, "/")
	on(t, bed.Ext, fmt.Sprintf("ip route add %s via 192.168.50.1; ip -6 route add %s via fd50::1", a4, a6))
	undo(t, bed.Ext, fmt.Sprintf("ip route del %s; ip -6 route del %s", a4, a6))
	return testbed.Frontend{Name: "new address", V4: ap(a4 + ":1"), V6: ap("[" + a6 + "]:1")}
}

// TestReversePathFilter turns on the filter that drops packets whose sender
// does not live where they came from.
func TestReversePathFilter(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		const set = "for i in all eth0 vp1 vp2 vc1; do sysctl -qw net.ipv4.conf.$i.rp_filter=%d net.ipv4.conf.$i.src_valid_mark=%d; done"
		undo(t, bed.Node, fmt.Sprintf(set, 0, 0))
		s := testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer", External: true}
		serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
		for mark := range 2 {
			on(t, bed.Node, fmt.Sprintf(set, 1, mark))
			answered(t, requests(s.Frontends(), bed.C1, bed.Node, bed.Ext), anyone, "p1", "r1")
		}
	})
}

// TestForeignMarks runs with marks that a CNI sets, as Calico does: early on packets
// from pods, and in INPUT.
func TestForeignMarks(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		script := func(verb string) string {
			var out strings.Builder
			for _, tool := range []string{"iptables", "ip6tables"} {
				fmt.Fprintf(&out, "%s -t raw %s PREROUTING -i vc1 -j MARK --set-xmark 0x40000/0x40000; ", tool, verb)
				fmt.Fprintf(&out, "%s %s INPUT -m conntrack ! --ctstate RELATED,ESTABLISHED -j MARK --set-xmark 0xab00000/0xfff00000; ", tool, strings.Replace(verb, "-A", "-I", 1))
			}
			return out.String()
		}
		on(t, bed.Node, script("-A"))
		undo(t, bed.Node, script("-D"))
		s := testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer", External: true, Spec: externalLocal}
		serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
		answered(t, requests(s.Outside(), bed.Ext), bed.Ext, "p1")
		answered(t, requests(s.Frontends(), bed.C1), bed.C1, "p1", "r1")
	})
}
