package main

import "kube-ipvs/test/lib/testbed"

// reachScenarios are about clients, the frontends that they reach, and the sources
// that endpoints see.
func reachScenarios() []Scenario {
	type service = testbed.Service
	return chapter("Who answers",
		Scenario{Name: "ClusterIP", Still: &Still{
			Services: []Backed{{service{Name: "web"}, onBoth}},
			Asks:     func(s *Scene) []Ask { return s.allAsks(s.Service("web")) },
		}},
		Scenario{Name: "NodePort", Still: &Still{
			Services: []Backed{{service{Name: "web", Type: "NodePort"}, onBoth}},
			Asks:     func(s *Scene) []Ask { return s.allAsks(s.Service("web")) },
		}},
		Scenario{Name: "load balancer and external IPs", Still: &Still{
			Services: []Backed{{service{Name: "web", Type: "LoadBalancer", External: true}, onBoth}},
			Asks:     func(s *Scene) []Ask { return s.allAsks(s.Service("web")) },
		}},
		Scenario{Name: "no cluster CIDR", Variant: NoClusterCIDR, Still: &Still{
			Services: []Backed{{service{Name: "web", Type: "LoadBalancer", External: true}, onBoth}},
			Asks:     func(s *Scene) []Ask { return s.allAsks(s.Service("web")) },
		}},
		Scenario{Name: "masquerade all", Variant: MasqueradeAll, Still: &Still{
			Services: []Backed{{service{Name: "web", Type: "LoadBalancer", External: true}, onBoth}},
			Asks:     func(s *Scene) []Ask { return s.allAsks(s.Service("web")) },
		}},
		Scenario{Name: "iptables-legacy", Variant: Legacy, Still: &Still{
			Services: []Backed{{service{Name: "web", Type: "LoadBalancer", External: true}, onBoth}},
			Asks:     func(s *Scene) []Ask { return s.allAsks(s.Service("web")) },
		}},
	)
}
