package wire

import (
	"fmt"
	"strings"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// TestDNATOfOthers has others send the port of a Service at all local addresses to a
// pod, as host ports of network plugins and Docker do: by a table of nftables of their
// own, and in front in both variants of iptables; before we start, and made anew after. A ClusterIP
// is a local address here, and never theirs.
func TestDNATOfOthers(t *testing.T) {
	for mode, backend := range map[string]string{"image": "nft", "direct": "legacy"} {
		t.Run(mode, func(t *testing.T) {
			unlimitICMP(t)
			make, remove := hostPorts(80)
			on(t, bed.Node, make)
			undo(t, bed.Node, remove)
			d := start(t, "--cluster-ip-servers", mode, "--vip-binding", bindings[mode], "--iptables-backend", backend)
			s := testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer"}
			empty := testbed.Service{Name: "empty", Number: 2}
			put(t, d, "empty.yaml", empty.Manifest())
			serve(t, d, testbed.Backends(bed.P1), s)
			clients := []*testbed.Host{bed.C1, bed.Node, bed.Ext}
			for _, when := range []string{"before", "after"} {
				t.Run(when, func(t *testing.T) {
					if when == "after" {
						on(t, bed.Node, remove+make)
					}
					answered(t, requests([]testbed.Frontend{s.ClusterIP()}, clients...), anyone, "p1")
					refused(t, 1, requests([]testbed.Frontend{empty.ClusterIP()}, clients...)...)
					answered(t, requests([]testbed.Frontend{s.LoadBalancer(), s.NodePort()}, bed.Ext), anyone, "p1")
					answered(t, requests([]testbed.Frontend{at(s.NodePort(), 80)}, bed.C1, bed.Ext), anyone, "p2")
				})
			}
		})
	}
}

// hostPorts returns scripts that send a port of all local addresses to P2, in three
// ways, and no more.
func hostPorts(port uint16) (make, remove string) {
	var on, off strings.Builder
	fmt.Fprintf(&on, `nft -f - <<'END'
table inet host_ports {
	chain host_ports {
		meta nfproto ipv4 meta l4proto { tcp, udp } th dport %[1]d dnat ip to 10.244.0.12:8080
		meta nfproto ipv6 meta l4proto { tcp, udp } th dport %[1]d dnat ip6 to [fd44::12]:8080
	}
	chain prerouting { type nat hook prerouting priority dstnat; fib daddr type local jump host_ports; }
	chain output { type nat hook output priority -100; fib daddr type local jump host_ports; }
}
END
`, port)
	fmt.Fprintln(&off, "nft delete table inet host_ports")
	for _, b := range backends {
		for tool, to := range map[string]string{"iptables-" + b: "10.244.0.12:8080", "ip6tables-" + b: "[fd44::12]:8080"} {
			fmt.Fprintf(&on, "%s -w -t nat -N HOST-PORTS\n", tool)
			for _, network := range networks {
				fmt.Fprintf(&on, "%s -w -t nat -A HOST-PORTS -p %s --dport %d -j DNAT --to-destination %s\n", tool, network, port, to)
			}
			for _, hook := range []string{"PREROUTING", "OUTPUT"} {
				fmt.Fprintf(&on, "%s -w -t nat -I %s -m addrtype --dst-type LOCAL -j HOST-PORTS\n", tool, hook)
				fmt.Fprintf(&off, "%s -w -t nat -D %s -m addrtype --dst-type LOCAL -j HOST-PORTS\n", tool, hook)
			}
			fmt.Fprintf(&off, "%[1]s -w -t nat -F HOST-PORTS\n%[1]s -w -t nat -X HOST-PORTS\n", tool)
		}
	}
	return on.String(), off.String()
}
