package main

import (
	"context"

	"kube-ipvs/test/lib/testbed"
)

// bridgeScenarios are pods that share a bridge of the node, and reach each other
// past its routing.
func bridgeScenarios() []Scenario {
	return chapter("Pods on a bridge",
		Scenario{Name: "br_netfilter, hairpin ports", Play: onBridge},
		Scenario{Name: "br_netfilter", Play: onOtherBridge(testbed.Bridge{Netfilter: true})},
		Scenario{Name: "hairpin ports", Play: onOtherBridge(testbed.Bridge{Hairpin: true})},
	)
}

// onBridge makes some of the requests that other scenarios make without a bridge.
func onBridge(ctx context.Context, s *Scene) error {
	lb := testbed.Service{Name: "web", Type: "LoadBalancer", External: true}
	policy := testbed.Service{Name: "local", Type: "LoadBalancer", Spec: []string{"externalTrafficPolicy: Local", "internalTrafficPolicy: Local"}}
	web, empty, local, ranged := s.Number(lb), s.Number(lb), s.Number(policy), s.Number(rangedService(`"10.244.0.21/32", "fd44::21/128"`))
	if err := s.bridged(ctx, testbed.Bridge{Hairpin: true, Netfilter: true}, web, empty, local, ranged); err != nil {
		return err
	}
	asks := crossing([]*testbed.Host{s.C1, s.P1, s.RC, s.Node, s.Ext}, ofEachKind(web, ""), "tcp", "udp")
	asks = append(asks, crossing([]*testbed.Host{s.C1, s.Node, s.Ext}, ofEachKind(empty, " without endpoints"), "tcp", "udp")...)
	asks = append(asks, crossing([]*testbed.Host{s.C1, s.Ext}, ofEachKind(local, " with policy Local"), "tcp")...)
	asks = append(asks, crossing([]*testbed.Host{s.C1, s.P1, s.Ext}, ofEachKind(ranged, " with loadBalancerSourceRanges of c1")[1:2], "tcp")...)
	s.Ask(ctx, "", asks...)
	return nil
}

// onOtherBridge makes the requests for which the bridge's configuration may matter.
func onOtherBridge(how testbed.Bridge) func(context.Context, *Scene) error {
	return func(ctx context.Context, s *Scene) error {
		lb := testbed.Service{Name: "web", Type: "LoadBalancer", External: true}
		web, empty := s.Number(lb), s.Number(lb)
		if err := s.bridged(ctx, how, web, empty); err != nil {
			return err
		}
		asks := crossing([]*testbed.Host{s.C1, s.P1, s.Ext}, ofEachKind(web, ""), "tcp", "udp")
		s.Ask(ctx, "", append(asks, crossing([]*testbed.Host{s.C1}, ofEachKind(empty, " without endpoints"), "tcp")...)...)
		return nil
	}
}

// bridged puts this node's pods on a bridge, and one of them behind all Services but
// the second.
func (s *Scene) bridged(ctx context.Context, how testbed.Bridge, services ...testbed.Service) error {
	s.Undo(s.Unbridge)
	gateway, err := s.Bridge(ctx, how)
	if err != nil {
		return err
	}
	s.names[gateway.IPv4], s.names[gateway.IPv6] = "the node's bridge", "the node's bridge"
	for i, v := range services {
		backends := testbed.Backends(s.P1)
		if i == 1 {
			backends = nil
		}
		if err := s.Apply(ctx, v, backends...); err != nil {
			return err
		}
	}
	return s.Programmed(ctx)
}

// ofEachKind returns a ClusterIP, a load-balancer IP and a node port, of which more
// is said.
func ofEachKind(v testbed.Service, more string) []testbed.Frontend {
	out := []testbed.Frontend{v.ClusterIP(), v.LoadBalancer(), v.NodePort()}
	for i := range out {
		out[i].Name += more
	}
	return out
}
