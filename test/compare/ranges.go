package main

import (
	"context"
	"fmt"

	"kube-ipvs/test/lib/testbed"
)

// rangeScenarios are Services with loadBalancerSourceRanges.
func rangeScenarios() []Scenario {
	return chapter("Source ranges",
		Scenario{Name: "several, and the other frontends", Still: &Still{
			Services: []Backed{{rangedService(`"192.168.60.0/24", "fd60::/64", "10.244.0.21/32", "fd44::21/128"`), onBoth}},
			Asks:     func(s *Scene) []Ask { return s.allAsks(s.Service("web")) },
		}},
		ranged("one outside client", `"192.168.50.2/32", "fd50::2/128"`),
		ranged("the pods", `"10.244.0.0/16", "fd44::/64"`),
		ranged("all clients", `"0.0.0.0/0", "::/0"`),
		ranged("all clients and one more", `"0.0.0.0/0", "::/0", "192.168.60.2/32", "fd60::2/128"`),
		ranged("the node", `"192.168.50.1/32", "fd50::1/128"`),
		ranged("all of the nodes' network", `"192.168.50.0/24", "fd50::/64"`),
		ranged("of IPv4 only", `"192.168.50.2/32"`),
		ranged("with blanks around", `" 192.168.50.2/32 ", " fd50::2/128"`),
		boundHere("the node, which has the address", `"192.168.50.1/32", "fd50::1/128"`),
		boundHere("not the node, which has the address", `"192.168.50.2/32", "fd50::2/128"`),
		Scenario{Name: "iptables-legacy", Variant: Legacy, Still: &Still{
			Services: []Backed{{rangedService(`"192.168.50.2/32", "fd50::2/128"`), onThis}},
			Asks: func(s *Scene) []Ask {
				return crossing(s.clients(), s.Service("web").Outside(), "tcp")
			},
		}},
	)
}

// boundHere has the load-balancer IP bound on the node, as keepalived does: it is the
// source of the node's packets to that address, and of no others.
func boundHere(name, ranges string) Scenario {
	return Scenario{Name: name, Play: func(ctx context.Context, s *Scene) error {
		v := s.Number(rangedService(ranges))
		lb := v.LoadBalancer()
		bind := func(verb string) string {
			return fmt.Sprintf("ip addr %s %s/32 dev lo scope link && ip addr %[1]s %[3]s/128 dev lo preferred_lft 0", verb, lb.V4.Addr(), lb.V6.Addr())
		}
		if err := s.Shell(ctx, s.Node, bind("add"), bind("del")); err != nil {
			return err
		}
		if err := s.Apply(ctx, v, testbed.Backends(s.P1, s.R1)...); err != nil {
			return err
		}
		if err := s.Programmed(ctx); err != nil {
			return err
		}
		s.Ask(ctx, "", crossing([]*testbed.Host{s.Node, s.Ext, s.C1}, []testbed.Frontend{lb}, "tcp", "udp")...)
		return nil
	}}
}

// ranged is one in which clients of all sorts ask a load-balancer IP.
func ranged(name, ranges string) Scenario {
	return Scenario{Name: name, Still: &Still{
		Services: []Backed{{rangedService(ranges), onThis}},
		Asks: func(s *Scene) []Ask {
			to := []testbed.Frontend{s.Service("web").LoadBalancer()}
			return append(crossing(s.clients(), to, "tcp"), bound(crossing(s.nodes(), to, "tcp"), (*testbed.Host).IP)...)
		},
	}}
}

func rangedService(ranges string) testbed.Service {
	return testbed.Service{Name: "web", Type: "LoadBalancer", External: true, Spec: []string{"loadBalancerSourceRanges: [" + ranges + "]"}}
}
