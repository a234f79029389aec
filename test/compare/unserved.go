package main

import (
	"context"
	"fmt"

	"kube-ipvs/test/lib/testbed"
)

// unservedScenarios are packets to virtual IPs that are not for a Service's port.
func unservedScenarios() []Scenario {
	type service = testbed.Service
	all := service{Name: "web", Type: "LoadBalancer", External: true}
	return chapter("Other ports of a virtual IP",
		Scenario{Name: "where a daemon of the node listens", Still: &Still{
			Services: []Backed{{all, onThis}},
			Asks: func(s *Scene) []Ask {
				var to []testbed.Frontend
				for _, f := range vips(s.Service("web")) {
					to = append(to, port(f, nodeDaemon, "port of a daemon"))
				}
				to = append(to, port(s.Service("web").NodePort(), nodeDaemon, "port of a daemon"))
				return crossing(s.clients(), to, "tcp", "udp")
			},
		}},
		Scenario{Name: "number of a node port", Still: &Still{
			Services: []Backed{{all, onThis}},
			Asks: func(s *Scene) []Ask {
				v := s.Service("web")
				var to []testbed.Frontend
				for _, f := range vips(v) {
					to = append(to, port(f, v.NodePort().V4.Port(), "number of its node port"))
				}
				return crossing([]*testbed.Host{s.C1, s.Node, s.Ext, s.Far}, to, "tcp")
			},
		}},
		Scenario{Name: "ping", Still: &Still{
			Services: []Backed{{all, onThis}, {service{Name: "empty", Type: "LoadBalancer", External: true}, nil}},
			Asks: func(s *Scene) []Ask {
				asks := crossing(s.clients(), append(vips(s.Service("web")), port(s.Service("web").NodePort(), 0, "its address")), "ping")
				var empty []testbed.Frontend
				for _, f := range vips(s.Service("empty")) {
					f.Name += " without endpoints"
					empty = append(empty, f)
				}
				return append(asks, crossing([]*testbed.Host{s.C1, s.Node, s.Ext}, empty, "ping")...)
			},
		}},
		Scenario{Name: "a Service on port 21", Still: &Still{
			Services: []Backed{{service{Name: "ftp", Type: "LoadBalancer", External: true, Port: 21}, onThis}},
			Asks: func(s *Scene) []Ask {
				v := s.Service("ftp")
				asks := crossing([]*testbed.Host{s.C1, s.Node, s.Ext}, v.Frontends(), "tcp", "udp")
				for _, other := range []uint16{20, 80, nodeDaemon} {
					asks = append(asks, crossing([]*testbed.Host{s.C1, s.Node, s.Ext}, []testbed.Frontend{port(v.ClusterIP(), other, fmt.Sprintf("another port (%d)", other))}, "tcp")...)
				}
				return asks
			},
		}},
		Scenario{Name: "a Service whose port is the node port of another", Play: numberOfAnother},
	)
}

func numberOfAnother(ctx context.Context, s *Scene) error {
	other := s.Number(testbed.Service{Name: "other", Type: "NodePort"})
	v := s.Number(testbed.Service{Name: "web", Type: "LoadBalancer", External: true, Port: int(other.NodePort().V4.Port())})
	for _, v := range []testbed.Service{other, v} {
		host := s.P1
		if v.Name == other.Name {
			host = s.P2
		}
		if err := s.Apply(ctx, v, testbed.Backends(host)...); err != nil {
			return err
		}
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	s.Ask(ctx, "", crossing(s.clients(), append(vips(v)[1:], other.NodePort()), "tcp", "udp")...)
	s.Ask(ctx, "", crossing(s.inside(), vips(v)[:1], "tcp", "udp")...)
	return nil
}
