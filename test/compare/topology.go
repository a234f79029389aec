package main

import (
	"context"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// topologyScenarios are endpoints with hints, as the EndpointSlice controller
// writes them for trafficDistribution. The nodes are in zones of their own.
func topologyScenarios() []Scenario {
	type service = testbed.Service
	here, there := []string{zoneOf("node")}, []string{zoneOf("node2")}
	this, other := []string{"node"}, []string{"node2"}
	hinted := func(name string, v service, backends func(w *World) []testbed.Backend) Scenario {
		v.Name, v.Type = "web", "LoadBalancer"
		return Scenario{Name: name, Still: &Still{
			Services: []Backed{{v, backends}},
			Asks: func(s *Scene) []Ask {
				v := s.Service("web")
				asks := crossing(s.inside(), []testbed.Frontend{v.ClusterIP()}, "tcp")
				asks = append(asks, everyWay(s.C1, v.ClusterIP(), "udp")...)
				return append(asks, crossing([]*testbed.Host{s.C1, s.Ext}, v.Outside(), "tcp")...)
			},
		}}
	}
	type backend = testbed.Backend
	spec := func(lines ...string) service { return service{Spec: lines} }
	pair := func(p1, r1 backend) func(*World) []backend {
		return func(w *World) []backend {
			p1, r1 := p1, r1
			p1.Host, r1.Host = w.P1, w.R1
			return []backend{p1, r1}
		}
	}
	also := func(more backend, f func(*World) []backend) func(*World) []backend {
		return func(w *World) []backend {
			more := more
			more.Host = w.P2
			return append(f(w), more)
		}
	}
	zones := pair(backend{Zones: here}, backend{Zones: there})
	nodes := pair(backend{Zones: here, Nodes: this}, backend{Zones: there, Nodes: other})
	return chapter("Topology",
		hinted("PreferSameZone", spec("trafficDistribution: PreferSameZone"), zones),
		hinted("PreferClose", spec("trafficDistribution: PreferClose"), zones),
		hinted("PreferSameNode", spec("trafficDistribution: PreferSameNode"), nodes),
		hinted("zone hints without trafficDistribution", service{}, zones),
		hinted("node hints without trafficDistribution", service{}, nodes),
		hinted("trafficDistribution without hints", spec("trafficDistribution: PreferSameZone"), onBoth),
		hinted("hints that point crosswise", spec("trafficDistribution: PreferSameZone"), pair(backend{Zones: there}, backend{Zones: here})),
		hinted("two endpoints of the zone", spec("trafficDistribution: PreferSameZone"), also(backend{Zones: here}, zones)),
		hinted("an endpoint for two zones", spec("trafficDistribution: PreferSameZone"), pair(backend{Zones: []string{here[0], there[0]}}, backend{Zones: there})),
		hinted("one endpoint without hint", spec("trafficDistribution: PreferSameZone"), pair(backend{Zones: here}, backend{})),
		hinted("one endpoint without node hint", spec("trafficDistribution: PreferSameNode"), pair(backend{Zones: here, Nodes: this}, backend{Zones: there})),
		hinted("no endpoint for this zone", spec("trafficDistribution: PreferSameZone"), pair(backend{Zones: there}, backend{Zones: there})),
		hinted("no endpoint for this node", spec("trafficDistribution: PreferSameNode"), pair(backend{Zones: here, Nodes: other}, backend{Zones: there, Nodes: other})),
		hinted("the zone's endpoint is not ready", spec("trafficDistribution: PreferSameZone"), also(backend{Zones: there}, pair(backend{Zones: here, State: "unready"}, backend{Zones: there}))),
		hinted("an endpoint without hint is not ready", spec("trafficDistribution: PreferSameZone"), also(backend{State: "unready"}, zones)),
		hinted("the zone's endpoint is terminating", spec("trafficDistribution: PreferSameZone"), pair(backend{Zones: here, State: "terminating"}, backend{Zones: there})),
		hinted("all endpoints are terminating", spec("trafficDistribution: PreferSameZone"), pair(backend{Zones: here, State: "terminating"}, backend{Zones: there, State: "terminating"})),
		hinted("hints and externalTrafficPolicy Local", spec("trafficDistribution: PreferSameZone", "externalTrafficPolicy: Local"), also(backend{Zones: there}, zones)),
		hinted("hints and internalTrafficPolicy Local", spec("trafficDistribution: PreferSameZone", "internalTrafficPolicy: Local"), also(backend{Zones: there}, zones)),
		Scenario{Name: "the node's zone changes", Play: zoneChanges},
	)
}

// zoneChanges has a node without a zone: hints for zones mean nothing there.
func zoneChanges(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "web"})
	here, there := zoneOf("node"), zoneOf("node2")
	if err := s.Apply(ctx, v, testbed.Backend{Host: s.P1, Zones: []string{here}}, testbed.Backend{Host: s.R1, Zones: []string{there}}); err != nil {
		return err
	}
	s.Undo(func(ctx context.Context) error { return s.Control.SetZone(ctx, s.Node, here) })
	for _, step := range []struct{ when, zone, await string }{
		{"in a zone", here, ""}, {"without a zone", "", "r1"}, {"in another zone", there, "r1"}, {"in the first again", here, "p1"},
	} {
		if err := s.Control.SetZone(ctx, s.Node, step.zone); err != nil {
			return err
		}
		if err := s.Programmed(ctx); err != nil {
			return err
		}
		s.seen(ctx, step.await, Ask{From: s.C1, Network: "tcp", To: v.ClusterIP().V6})
		s.Ask(ctx, step.when, crossing(s.inside(), []testbed.Frontend{v.ClusterIP()}, "tcp")...)
	}
	return nil
}

// seen waits a while until an endpoint answers: the proxy watches the Node by itself,
// so that the canary does not show whether it has seen the change.
func (s *Scene) seen(ctx context.Context, who string, a Ask) {
	_ = testbed.Await(ctx, 3*time.Second, func() error {
		answer, err := a.From.Ask(ctx, a.Network, a.To, a.With)
		if got := testbed.Outcome(answer, err); who != "" && got != who {
			return errNotYet
		}
		return nil
	})
}
