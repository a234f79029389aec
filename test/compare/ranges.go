package main

import "kube-ipvs/test/testbed"

// rangeScenarios are Services with loadBalancerSourceRanges.
func rangeScenarios() []Scenario {
	ranged := func(name, ranges string) Scenario {
		return Scenario{Name: name, Still: &Still{
			Services: []Backed{{rangedService(ranges), onThis}},
			Asks: func(s *Scene) []Ask {
				to := []testbed.Frontend{s.Service("web").LoadBalancer()}
				return append(crossing(s.clients(), to, "tcp"), bound(crossing(s.nodes(), to, "tcp"), (*testbed.Host).IP)...)
			},
		}}
	}
	return chapter("Source ranges",
		Scenario{Name: "several, and the other frontends", Still: &Still{
			Services: []Backed{{rangedService(`"192.168.60.0/24", "fd60::/64", "10.244.0.21/32", "fd44::21/128"`), onBoth}},
			Asks:     func(s *Scene) []Ask { return s.everybody(s.Service("web")) },
		}},
		ranged("one outside client", `"192.168.50.2/32", "fd50::2/128"`),
		ranged("the pods", `"10.244.0.0/16", "fd44::/64"`),
		ranged("everybody", `"0.0.0.0/0", "::/0"`),
		ranged("everybody and one more", `"0.0.0.0/0", "::/0", "192.168.60.2/32", "fd60::2/128"`),
		ranged("the node", `"192.168.50.1/32", "fd50::1/128"`),
		ranged("all of the nodes' network", `"192.168.50.0/24", "fd50::/64"`),
		ranged("of IPv4 only", `"192.168.50.2/32"`),
		ranged("with blanks around", `" 192.168.50.2/32 ", " fd50::2/128"`),
		Scenario{Name: "iptables-legacy", Variant: Legacy, Still: &Still{
			Services: []Backed{{rangedService(`"192.168.50.2/32", "fd50::2/128"`), onThis}},
			Asks: func(s *Scene) []Ask {
				return crossing(s.clients(), s.Service("web").Outside(), "tcp")
			},
		}},
	)
}

func rangedService(ranges string) testbed.Service {
	return testbed.Service{Name: "web", Type: "LoadBalancer", External: true, Spec: []string{"loadBalancerSourceRanges: [" + ranges + "]"}}
}
