package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// clashScenarios are connections and Services that get into each other's way.
func clashScenarios() []Scenario {
	return chapter("One port for two", together(
		Scenario{Name: "one client port, two connections", Play: samePortTwice},
		Scenario{Name: "one external IP and port, two Services", Play: twoOwners},
		Scenario{Name: "connecting before there is a Service", Play: connectedBefore},
	)...)
}

// samePortTwice opens two connections at a time from one client port, which differ
// in nothing but the address that they are for.
func samePortTwice(ctx context.Context, s *Scene) error {
	number := func(name string) testbed.Service {
		return s.Number(testbed.Service{Name: name, Type: "LoadBalancer", Protocols: []string{"TCP"}})
	}
	a, b, other := number("one"), number("same-pods"), number("other-pods")
	for _, on := range []*testbed.Host{s.P1, s.R1} {
		for _, v := range []testbed.Service{a, b} {
			if err := s.Apply(ctx, v, testbed.Backends(on)...); err != nil {
				return err
			}
		}
		if err := s.put(ctx, other, s.P2); err != nil {
			return err
		}
		pod := testbed.Frontend{
			Name: "pod " + on.Name,
			V4:   netip.AddrPortFrom(on.IPv4, testbed.TargetPort), V6: netip.AddrPortFrom(on.IPv6, testbed.TargetPort),
		}
		named := func(f testbed.Frontend, name string) testbed.Frontend {
			f.Name = name
			return f
		}
		var names []string
		var pairs [][]Ask
		for _, pair := range []struct {
			from          *testbed.Host
			first, second testbed.Frontend
		}{
			{s.C1, a.ClusterIP(), named(b.ClusterIP(), "ClusterIP of another Service")},
			{s.C1, a.ClusterIP(), a.LoadBalancer()},
			{s.C1, a.ClusterIP(), a.NodePort()},
			{s.C1, a.ClusterIP(), named(other.ClusterIP(), "ClusterIP of a Service with another pod")},
			{s.C1, a.ClusterIP(), pod},
			{s.C1, pod, a.ClusterIP()},
			{s.Node, a.ClusterIP(), named(b.ClusterIP(), "ClusterIP of another Service")},
			{s.Node, a.ClusterIP(), a.LoadBalancer()},
			{s.Node, a.ClusterIP(), pod},
			{s.Node, pod, a.ClusterIP()},
			{s.Ext, a.LoadBalancer(), named(b.LoadBalancer(), "load-balancer IP of another Service")},
			{s.Ext, a.LoadBalancer(), a.NodePort()},
			{s.Ext, pod, a.NodePort()},
		} {
			for _, four := range []bool{true, false} {
				first := Ask{From: pair.from, Network: "tcp", To: pair.first.Addr(four), Target: pair.first.Name}
				second := Ask{From: pair.from, Network: "tcp", To: pair.second.Addr(four), Target: pair.second.Name}
				names = append(names, fmt.Sprintf("endpoint %s: %s → %s and %s, %s", on.Name, pair.from.Name, first.Target, second.Target, first.way()))
				pairs = append(pairs, []Ask{first, second})
			}
		}
		outcomes := make([]string, len(pairs))
		var all sync.WaitGroup
		for i, pair := range pairs {
			all.Go(func() { outcomes[i] = both(ctx, pair...) })
		}
		all.Wait()
		for i, name := range names {
			s.Record(name, outcomes[i])
		}
	}
	return nil
}

// both opens the connections from one port, and says which of them live.
func both(ctx context.Context, asks ...Ask) string {
	var open []*testbed.Session
	port := uint16(firstStreamPort + streamPorts.Add(1)%manyStreamPorts)
	for i, a := range asks {
		a.With.Port, a.With.Patience = port, patience
		session, err := a.From.Dial(ctx, a.Network, a.To, a.With)
		if err != nil {
			return fmt.Sprintf("%s is not opened: %s", ordinals[i], testbed.Outcome(testbed.Answer{}, err))
		}
		defer session.Reset()
		open = append(open, session)
	}
	for range 2 {
		for i, session := range open {
			if _, err := session.Ask(); err != nil {
				return fmt.Sprintf("%s breaks: %s", ordinals[i], testbed.Outcome(testbed.Answer{}, err))
			}
		}
	}
	return "both live"
}

var ordinals = []string{"the first", "the second"}

// twoOwners gives two Services the same external IP and port. Which of them has
// it is by chance in some modes; that the other one has it afterwards is not.
func twoOwners(ctx context.Context, s *Scene) error {
	a, b := s.Number(testbed.Service{Name: "owner"}), s.Number(testbed.Service{Name: "rival"})
	external := a.ExternalIP()
	ip := fmt.Sprintf("externalIPs: [%q, %q]", external.V4.Addr(), external.V6.Addr())
	a.Spec, b.Spec = []string{ip}, []string{ip}
	on := map[string]testbed.Service{"p1": a, "p2": b}
	rival := map[string]string{"p1": "p2", "p2": "p1"}
	hosts := map[string]*testbed.Host{"p1": s.P1, "p2": s.P2}
	for who, v := range on {
		if err := s.Apply(ctx, v, testbed.Backends(hosts[who])...); err != nil {
			return err
		}
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	asks := append(everyWay(s.Ext, external, "tcp", "udp"), everyWay(s.C1, external, "tcp", "udp")...)
	answer, err := asks[0].From.Ask(ctx, asks[0].Network, asks[0].To, testbed.From{Patience: patience})
	if err != nil {
		return fmt.Errorf("neither of two owners answers: %w", err)
	}
	s.Record("with both, "+asks[0].String(), "one of them answers")
	if err := s.Control.Delete(ctx, on[answer.Name].Name); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	for _, a := range asks {
		outcome := s.everyone(ctx, a)
		if heir, err := a.From.Ask(ctx, a.Network, a.To, testbed.From{Patience: patience}); err == nil && heir.Name == rival[answer.Name] {
			outcome = "the other one answers"
		}
		s.Record("after it was deleted, "+a.String(), outcome)
	}
	return nil
}

// connectedBefore has clients send SYNs to a Service that does not exist yet, and then
// makes it.
func connectedBefore(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "awaited", Type: "LoadBalancer", Protocols: []string{"TCP"}})
	asks := append(everyWay(s.C1, v.ClusterIP(), "tcp"), everyWay(s.Node, v.ClusterIP(), "tcp")...)
	asks = append(asks, everyWay(s.RC, v.ClusterIP(), "tcp")...)
	asks = append(asks, everyWay(s.Ext, v.LoadBalancer(), "tcp")...)
	for _, f := range []testbed.Frontend{v.ClusterIP(), v.LoadBalancer()} {
		// A router that says nothing: of an error the client would take notice.
		const script = "ip route %[1]s blackhole %[2]s/32; ip -6 route %[1]s blackhole %[3]s/128"
		if err := s.Shell(ctx, s.Router, fmt.Sprintf(script, "add", f.V4.Addr(), f.V6.Addr()), fmt.Sprintf(script, "del", f.V4.Addr(), f.V6.Addr())); err != nil {
			return err
		}
	}
	const long = 12 * time.Second
	done := make([]chan error, len(asks))
	for i, a := range asks {
		done[i] = make(chan error, 1)
		go func() {
			a.With.Patience = long
			_, err := a.From.Ask(ctx, a.Network, a.To, a.With)
			done[i] <- err
		}()
	}
	wait(ctx, 1200*time.Millisecond) // two SYNs of each, or one
	// Endpoints first: without them it would be refused for a moment.
	if err := s.ApplyText(ctx, s.Slices(v.Name, "tcp", "TCP", testbed.TargetPort, testbed.Backends(s.P1))); err != nil {
		return err
	}
	if err := s.put(ctx, v, s.P1); err != nil {
		return err
	}
	for i, a := range asks {
		outcome := "gets through"
		if err := <-done[i]; err != nil {
			outcome = testbed.Outcome(testbed.Answer{}, err)
		}
		s.Record(a.String(), outcome)
	}
	return nil
}
