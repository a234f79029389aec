package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"kube-ipvs/test/lib/testbed"
)

// sourceScenarios are where requests seem to come from: masqueraded where they
// must be, and nowhere else.
func sourceScenarios() []Scenario {
	both := testbed.Service{Name: "plain", Type: "LoadBalancer", External: true}
	local := testbed.Service{Name: "local", Type: "LoadBalancer", External: true, Spec: []string{"externalTrafficPolicy: Local"}}
	narrow := testbed.Service{Name: "local", Type: "LoadBalancer", Spec: local.Spec}
	internal := testbed.Service{Name: "internal", Spec: []string{"internalTrafficPolicy: Local"}}
	every := func(from func(s *Scene) []*testbed.Host, networks ...string) func(s *Scene) []Ask {
		return func(s *Scene) []Ask {
			var out []Ask
			for _, v := range s.services {
				for _, f := range v.Frontends() {
					if len(s.services) > 1 {
						f.Name += " of " + v.Name
					}
					for _, h := range from(s) {
						out = append(out, everyWay(h, f, networks...)...)
					}
				}
			}
			return out
		}
	}
	clients := func(s *Scene) []*testbed.Host { return s.everyClient() }
	var out []Scenario
	for _, v := range []Variant{NoClusterCIDR, MasqueradeAll} {
		out = append(out,
			Scenario{Name: "external policy Local, " + string(v), Variant: v, Still: &Still{
				Services: []Backed{{local, onBoth}}, Asks: every(clients, "tcp")}},
			Scenario{Name: "external policy Local and no local endpoint, " + string(v), Variant: v, Still: &Still{
				Services: []Backed{{narrow, onOther}}, Asks: every(clients, "tcp")}},
			Scenario{Name: "internal policy Local, " + string(v), Variant: v, Still: &Still{
				Services: []Backed{{internal, onBoth}}, Asks: every(insiders, "tcp")}},
			Scenario{Name: "an endpoint asks itself, " + string(v), Variant: v, Still: &Still{
				Services: []Backed{{both, onThis}}, Asks: every(first, "tcp")}},
		)
	}
	out = append(out,
		Scenario{Name: "the only endpoint asks itself", Still: &Still{Services: []Backed{{both, onThis}}, Asks: every(first, "tcp", "udp")}},
		Scenario{Name: "the only endpoint asks itself, external policy Local", Still: &Still{Services: []Backed{{local, onThis}}, Asks: every(first, "tcp", "udp")}},
		Scenario{Name: "the only endpoint asks itself, internal policy Local", Still: &Still{Services: []Backed{{internal, onThis}}, Asks: every(first, "tcp", "udp")}},
		Scenario{Name: "one of two endpoints asks", Still: &Still{
			Services: []Backed{{both, hosts(func(w *World) []*testbed.Host { return []*testbed.Host{w.P1, w.P2} })}}, Asks: every(first, "tcp", "udp")}},
		Scenario{Name: "an endpoint on each node, and both ask", Still: &Still{
			Services: []Backed{{both, onBoth}}, Asks: every(func(s *Scene) []*testbed.Host { return []*testbed.Host{s.P1, s.R1} }, "tcp")}},
		Scenario{Name: "the node binds its address", Still: &Still{
			Services: []Backed{{both, onBoth}, {local, onBoth}, {internal, onBoth}}, Asks: func(s *Scene) []Ask {
				return bound(every(func(s *Scene) []*testbed.Host { return []*testbed.Host{s.Node, s.Node2} }, "tcp", "udp")(s), (*testbed.Host).IP)
			}}},
		Scenario{Name: "the node binds an address of the pods' network", Play: podFacing},
		Scenario{Name: "source ports of masqueraded connections", Play: sourcePorts},
	)
	return chapter("Source addresses", out...)
}

func insiders(s *Scene) []*testbed.Host {
	return []*testbed.Host{s.C1, s.RC, s.Node, s.Node2, s.Ext}
}
func first(s *Scene) []*testbed.Host { return []*testbed.Host{s.P1} }

// bound has each client bind an address.
func bound(asks []Ask, address func(h *testbed.Host, like netip.Addr) netip.Addr) []Ask {
	for i, a := range asks {
		asks[i].With.Addr = address(a.From, a.To.Addr())
	}
	return asks
}

// podFacing has a program on the node send from the address that many network
// plugins give the node in the pods' network.
func podFacing(ctx context.Context, s *Scene) error {
	four, six := netip.MustParseAddr("10.244.0.1"), netip.MustParseAddr("fd44::1")
	if err := s.Shell(ctx, s.Node, fmt.Sprintf("ip addr add %s/32 dev lo; ip -6 addr add %s/128 dev lo nodad", four, six),
		fmt.Sprintf("ip addr del %s/32 dev lo; ip -6 addr del %s/128 dev lo", four, six)); err != nil {
		return err
	}
	for _, h := range []*testbed.Host{s.Node2, s.Router} {
		if err := s.Shell(ctx, h, fmt.Sprintf("ip route add %s via %s; ip -6 route add %s via %s", four, s.Node.IPv4, six, s.Node.IPv6),
			fmt.Sprintf("ip route del %s; ip -6 route del %s", four, six)); err != nil {
			return err
		}
	}
	var services []testbed.Service
	for _, spec := range []string{"internalTrafficPolicy: Cluster", "externalTrafficPolicy: Local"} {
		v := s.Number(testbed.Service{Name: "web", Type: "LoadBalancer", Spec: []string{spec}})
		if err := s.Apply(ctx, v, testbed.Backends(s.P1, s.R1)...); err != nil {
			return err
		}
		services = append(services, v)
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	for i, label := range []string{"policy Cluster", "external policy Local"} {
		var asks []Ask
		for _, f := range services[i].Frontends() {
			asks = append(asks, everyWay(s.Node, f, "tcp", "udp")...)
		}
		s.Ask(ctx, label, bound(asks, func(_ *testbed.Host, like netip.Addr) netip.Addr {
			if like.Is4() {
				return four
			}
			return six
		})...)
	}
	return nil
}

// sourcePorts finds out whether clients that have chosen a port each are told
// apart by that, or by ports chosen at random.
func sourcePorts(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "web", Type: "LoadBalancer", External: true})
	if err := s.Apply(ctx, v, testbed.Backends(s.P1)...); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	port := uint16(40000)
	var asks []Ask
	for _, f := range v.Frontends() {
		asks = append(asks, everyWay(s.Ext, f, "tcp", "udp")...)
	}
	asks = append(asks, everyWay(s.C1, v.ClusterIP(), "tcp")...)
	asks = append(asks, everyWay(s.P1, v.ClusterIP(), "tcp")...)
	asks = append(asks, everyWay(s.Node, v.NodePort(), "tcp")...)
	for _, a := range asks {
		s.Record(a.String(), s.sourcePort(ctx, a, &port))
	}
	return nil
}

const portTries = 8

func (s *Scene) sourcePort(ctx context.Context, a Ask, next *uint16) string {
	kept, answered := 0, 0
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range portTries {
		*next++
		port := *next
		wg.Go(func() {
			answer, err := a.From.Ask(ctx, a.Network, a.To, testbed.From{Port: port, Patience: patience})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				return
			}
			answered++
			if answer.Peer.Port() == port {
				kept++
			}
		})
	}
	wg.Wait()
	switch {
	case answered < portTries/2:
		return "not answered"
	case kept == answered:
		return "the client's"
	case kept <= 1: // chance may choose the same one
		return "others than the client's"
	}
	return "some are the client's"
}
