package main

import (
	"context"
	"net/netip"

	"kube-ipvs/test/lib/testbed"
)

// localhostScenarios ask node ports at loopback addresses, where kube-proxy's iptables
// mode serves them unless it is told not to, and kube-ipvs where it is told to.
func localhostScenarios() []Scenario {
	port := func(name string, spec ...string) testbed.Service {
		return testbed.Service{Name: name, Type: "NodePort", Spec: spec}
	}
	const external, internal = "externalTrafficPolicy: Local", "internalTrafficPolicy: Local"
	return chapter("Localhost",
		Scenario{Name: "localhost node ports", Variant: LocalhostPorts, Still: &Still{
			Services: []Backed{
				{port("web"), onBoth}, {port("here", external), onBoth}, {port("away", external, internal), onOther}, {port("empty"), nil},
				{testbed.Service{Name: "signal", Type: "NodePort", Protocols: []string{"SCTP"}}, onBoth},
			},
			Asks: func(s *Scene) []Ask {
				var out []Ask
				for _, name := range []string{"web", "here", "away", "empty"} {
					out = append(out, everyWay(s.Node, s.localhost(name), "tcp", "udp")...)
				}
				out = append(out, everyWay(s.Node2, s.localhost("away"), "tcp", "udp")...)
				return append(out, everyWay(s.Node, s.localhost("signal"), "sctp")...)
			},
		}},
		Scenario{Name: "a client of localhost keeps its endpoint", Variant: LocalhostPorts, Play: localhostSticks},
	)
}

// localhost returns the node port of a Service on the loopback addresses.
func (s *Scene) localhost(name string) testbed.Frontend { return loopback(name, s.Service(name)) }

func loopback(name string, v testbed.Service) testbed.Frontend {
	port := v.NodePort().V4.Port()
	return testbed.Frontend{Name: "node port of localhost, " + name,
		V4: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), V6: netip.AddrPortFrom(netip.IPv6Loopback(), port)}
}

// localhostSticks asks for a Service with session affinity.
func localhostSticks(ctx context.Context, s *Scene) error {
	v := s.sticky("web", 600)
	if err := s.Apply(ctx, v, testbed.Backends(s.P1, s.P2, s.R1)...); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	const times = 5
	for _, a := range everyWay(s.Node, loopback("web", v), "tcp", "udp") {
		name := s.glued(ctx, a, times)
		if name == "p1" || name == "p2" || name == "r1" {
			name = "one endpoint"
		}
		s.Record(a.String(), name)
	}
	return nil
}
