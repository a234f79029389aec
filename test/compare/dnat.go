package main

import (
	"context"
	"fmt"

	"kube-ipvs/test/lib/testbed"
)

// dnatScenarios are nodes on which a network plugin serves the numbers of a Service's
// port and of its node port on the node's addresses, made after the proxy has started.
func dnatScenarios() []Scenario {
	among := func(name string, ports func(numbers ...uint16) (script, undo string)) Scenario {
		return Scenario{Name: name, Play: func(ctx context.Context, s *Scene) error {
			v := s.Number(testbed.Service{Name: "web", Type: "LoadBalancer"})
			if err := s.Apply(ctx, v, testbed.Backends(s.P1)...); err != nil {
				return err
			}
			if err := s.Programmed(ctx); err != nil {
				return err
			}
			script, undo := ports(80, v.NodePort().V4.Port())
			if err := s.Shell(ctx, s.Node, script, undo); err != nil {
				return err
			}
			hostPort := port(v.NodePort(), 80, "the host port")
			s.Ask(ctx, "", crossing([]*testbed.Host{s.C1, s.Node}, []testbed.Frontend{v.ClusterIP()}, "tcp", "udp")...)
			s.Ask(ctx, "", crossing([]*testbed.Host{s.C1, s.Ext, s.Far}, append(v.Outside(), hostPort), "tcp", "udp")...)
			return nil
		}}
	}
	return chapter("DNAT of others",
		among("host ports with the same numbers", hostPorts),
		among("host ports by nftables", nftHostPorts),
	)
}

// hostPorts are those of CNI's portmap by iptables, and of Docker.
func hostPorts(numbers ...uint16) (script, undo string) {
	var maps []string
	for _, hook := range []string{"PREROUTING", "OUTPUT"} {
		maps = append(maps, "nat "+hook+" -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT")
	}
	for _, number := range numbers {
		for _, proto := range []string{"tcp", "udp"} {
			maps = append(maps, fmt.Sprintf("nat CNI-HOSTPORT-DNAT -p %s --dport %d -j DNAT --to-destination {p2}", proto, number))
		}
	}
	return rules([]string{"nat CNI-HOSTPORT-DNAT"}, maps...)
}

// nftHostPorts are those of CNI's portmap by nftables.
func nftHostPorts(numbers ...uint16) (script, undo string) {
	maps := ""
	for _, number := range numbers {
		maps += fmt.Sprintf("    meta nfproto ipv4 meta l4proto { tcp, udp } th dport %[1]d dnat ip to 10.244.0.12:8080\n"+
			"    meta nfproto ipv6 meta l4proto { tcp, udp } th dport %[1]d dnat ip6 to [fd44::12]:8080\n", number)
	}
	return "nft -f - <<'END'\ntable inet cni_hostport {\n  chain hostports {\n" + maps + `  }
  chain prerouting { type nat hook prerouting priority dstnat; fib daddr type local jump hostports; }
  chain output { type nat hook output priority -100; fib daddr type local jump hostports; }
}
END`, "nft delete table inet cni_hostport"
}
