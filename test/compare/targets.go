package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// targetScenarios are secondary addresses of a Service, and addresses that it
// shares with others.
func targetScenarios() []Scenario {
	type service = testbed.Service
	return chapter("Who answers",
		Scenario{Name: "NodePort on other addresses", Play: otherAddresses},
		Scenario{Name: "load balancer that is a proxy (ipMode)", Play: proxiedLoadBalancer},
		Scenario{Name: "external IP that is the node's address", Play: func(ctx context.Context, s *Scene) error {
			return nodesAddress(ctx, s, s.Node, 7791)
		}},
		Scenario{Name: "external IP that is another node's address", Play: func(ctx context.Context, s *Scene) error {
			return nodesAddress(ctx, s, s.Node2, 7792)
		}},
		Scenario{Name: "endpoint in this node's network", Still: &Still{
			Services: []Backed{{service{Name: "web", Type: "LoadBalancer"}, hosts(func(w *World) []*testbed.Host { return []*testbed.Host{w.Node} })}},
			Asks:     func(s *Scene) []Ask { return s.allAsks(s.Service("web")) },
		}},
		Scenario{Name: "endpoint in the other node's network", Still: &Still{
			Services: []Backed{{service{Name: "web", Type: "LoadBalancer"}, hosts(func(w *World) []*testbed.Host { return []*testbed.Host{w.Node2} })}},
			Asks:     func(s *Scene) []Ask { return s.allAsks(s.Service("web")) },
		}},
		Scenario{Name: "endpoints in both nodes' networks", Still: &Still{
			Services: []Backed{{service{Name: "web", Type: "LoadBalancer", External: true}, hosts(func(w *World) []*testbed.Host { return []*testbed.Host{w.Node, w.Node2} })}},
			Asks:     func(s *Scene) []Ask { return s.allAsks(s.Service("web")) },
		}},
		Scenario{Name: "health-check node port", Play: healthCheck},
		Scenario{Name: "SCTP", Still: &Still{
			Services: []Backed{{service{Name: "signal", Type: "LoadBalancer", Protocols: []string{"SCTP"}}, onBoth}},
			Asks: func(s *Scene) []Ask {
				v := s.Service("signal")
				var out []Ask
				for _, f := range v.Frontends() {
					for _, from := range []*testbed.Host{s.C1, s.RC, s.Node, s.Node2, s.Ext, s.Far} {
						if from != s.Far || f != v.ClusterIP() {
							out = append(out, everyWay(from, f, "sctp")...)
						}
					}
				}
				return append(out, everyWay(s.P1, v.ClusterIP(), "sctp")...)
			},
		}},
	)
}

// everyClient are all sorts of clients.
func (s *Scene) everyClient() []*testbed.Host {
	return []*testbed.Host{s.C1, s.RC, s.Node, s.Node2, s.Ext, s.Far}
}

// on returns a frontend of a host's own addresses.
func on(h *testbed.Host, name string, port uint16) testbed.Frontend {
	return testbed.Frontend{Name: name, V4: netip.AddrPortFrom(h.IPv4, port), V6: netip.AddrPortFrom(h.IPv6, port)}
}

// otherAddresses asks at node ports of addresses that are not the node's first.
func otherAddresses(ctx context.Context, s *Scene) error {
	// Deprecated, so that no program sends from it.
	if err := s.Shell(ctx, s.Node, "ip addr add 192.168.50.101/32 dev eth0; ip -6 addr add fd50::101/128 dev eth0 nodad preferred_lft 0",
		"ip addr del 192.168.50.101/32 dev eth0; ip -6 addr del fd50::101/128 dev eth0"); err != nil {
		return err
	}
	v := s.Number(testbed.Service{Name: "web", Type: "NodePort"})
	if err := s.Apply(ctx, v, testbed.Backends(s.P1, s.R1)...); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	port := v.NodePort().V4.Port()
	second := testbed.Frontend{Name: "node port of a second address", V4: netip.AddrPortFrom(netip.MustParseAddr("192.168.50.101"), port),
		V6: netip.AddrPortFrom(netip.MustParseAddr("fd50::101"), port)}
	loop := testbed.Frontend{Name: "node port of localhost", V4: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), V6: netip.AddrPortFrom(netip.IPv6Loopback(), port)}
	other := on(s.Node2, "node port of node2", port)
	asks := append(everyWay(s.Node, loop, "tcp", "udp"), everyWay(s.Node2, loop, "tcp", "udp")...)
	for _, from := range s.everyClient() {
		asks = append(asks, everyWay(from, other, "tcp", "udp")...)
		asks = append(asks, everyWay(from, second, "tcp", "udp")...)
	}
	s.Ask(ctx, "", asks...)
	return nil
}

// ingress returns a Service with addresses of the router as those of its load
// balancer, with a mode.
func (s *Scene) ingress(v testbed.Service, backends []testbed.Backend, mode string) string {
	spec, _, _ := strings.Cut(v.Manifest(), "status:")
	status := fmt.Sprintf("status: {loadBalancer: {ingress: [{ip: %q, ipMode: %s}, {ip: %q, ipMode: %s}]}}\n", s.Router.IPv4, mode, s.Router.IPv6, mode)
	out := spec + status
	for _, p := range []string{"TCP", "UDP"} {
		out += s.Slices(v.Name, strings.ToLower(p), p, testbed.TargetPort, backends)
	}
	return out
}

// proxiedLoadBalancer has a load balancer that wants to see the traffic of the
// cluster, too, and then one that does not.
func proxiedLoadBalancer(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "web", Type: "LoadBalancer", Port: 7790})
	stop, err := s.Serve(s.Router, uint16(v.Port), "the load balancer")
	if err != nil {
		return err
	}
	s.Undo(func(context.Context) error { stop(); return nil })
	s.Undo(func(ctx context.Context) error { return s.Control.Delete(ctx, v.Name) })
	vip := on(s.Router, "load-balancer IP", uint16(v.Port))
	for _, mode := range []string{"Proxy", "VIP"} {
		if err := s.ApplyText(ctx, s.ingress(v, testbed.Backends(s.P1), mode)); err != nil {
			return err
		}
		if err := s.Programmed(ctx); err != nil {
			return err
		}
		var asks []Ask
		for _, from := range []*testbed.Host{s.C1, s.RC, s.Node, s.Node2, s.Ext} {
			asks = append(asks, everyWay(from, vip, "tcp", "udp")...)
		}
		asks = append(asks, everyWay(s.Ext, v.NodePort(), "tcp")...)
		s.Ask(ctx, "mode "+mode, asks...)
	}
	return nil
}

// nodesAddress gives a Service an address of a node as external IP. All other ports of
// that node go on.
func nodesAddress(ctx context.Context, s *Scene, h *testbed.Host, port int) error {
	v := s.Number(testbed.Service{Name: "web", Port: port, Spec: []string{fmt.Sprintf("externalIPs: [%q, %q]", h.IPv4, h.IPv6)}})
	if err := s.Apply(ctx, v, testbed.Backends(s.P1, s.R1)...); err != nil {
		return err
	}
	// A proxy that takes the address from the other node does not get so far that the
	// canary would be answered there: the outcomes of the requests show it.
	soon, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_ = s.Programmed(soon)
	vip, daemon := on(h, "external IP = "+h.Name, uint16(port)), on(h, "daemon of "+h.Name, nodeDaemon)
	clients := append(s.everyClient(), s.P1)
	var asks []Ask
	for _, from := range clients {
		asks = append(asks, everyWay(from, vip, "tcp", "udp")...)
	}
	for _, from := range clients {
		asks = append(asks, everyWay(from, daemon, "tcp", "udp")...)
		asks = append(asks, everyWay(from, on(h, h.Name, 0), "ping")...)
	}
	s.Ask(ctx, "", asks...)
	return nil
}

// healthCheck asks as a load balancer does whether a node has endpoints.
func healthCheck(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "web", Type: "LoadBalancer"})
	port := uint16(31000 + v.Number)
	v.Spec = []string{"externalTrafficPolicy: Local", fmt.Sprintf("healthCheckNodePort: %d", port)}
	for _, step := range []struct {
		label    string
		backends []testbed.Backend
	}{
		{"two local endpoints", testbed.Backends(s.P1, s.P2, s.R1)},
		{"only a remote one", testbed.Backends(s.R1)},
		{"local one is terminating", []testbed.Backend{{Host: s.P1, State: "terminating"}, {Host: s.R1}}},
		{"local one is terminating, and published", []testbed.Backend{{Host: s.P1, State: "published"}, {Host: s.R1}}},
	} {
		if err := s.Apply(ctx, v, step.backends...); err != nil {
			return err
		}
		if err := s.Programmed(ctx); err != nil {
			return err
		}
		for _, h := range []*testbed.Host{s.Node, s.Node2} {
			s.health(ctx, step.label, on(h, "health-check port of "+h.Name, port))
		}
	}
	v.Spec = nil
	if err := s.Apply(ctx, v, testbed.Backends(s.P1)...); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	s.health(ctx, "policy Cluster", on(s.Node, "health-check port of node", port))
	return nil
}
