package main

import (
	"context"
	"net/netip"
	"slices"

	"kube-ipvs/test/lib/testbed"
)

// familyScenarios are Services of one family or both.
func familyScenarios() []Scenario {
	still := func(name string, v testbed.Service) Scenario {
		v.Name, v.Type, v.External = "web", "LoadBalancer", true
		return Scenario{Name: name, Still: &Still{Services: []Backed{{v, onBoth}}, Asks: func(s *Scene) []Ask { return s.perFamily(s.Service("web")) }}}
	}
	return chapter("Families",
		still("IPv4 only", testbed.Service{Families: []string{"IPv4"}}),
		still("IPv6 only", testbed.Service{Families: []string{"IPv6"}}),
		still("both, IPv6 first", testbed.Service{Families: []string{"IPv6", "IPv4"}}),
		still("both are preferred", testbed.Service{Spec: []string{"ipFamilyPolicy: PreferDualStack"}}),
		still("IPv4 only, external policy Local", testbed.Service{Families: []string{"IPv4"}, Spec: []string{"externalTrafficPolicy: Local"}}),
		Scenario{Name: "a family goes and comes", Play: familyGoes},
		Scenario{Name: "the first requests to a new Service", Play: usableAtOnce},
	)
}

// perFamily asks at all frontends. If the Service lacks a family, a packet to a load
// balancer's address of that family goes to and fro between the node and its router,
// which shows nothing of the proxy.
func (s *Scene) perFamily(v testbed.Service) []Ask {
	var out []Ask
	for _, f := range v.Frontends() {
		for _, from := range []*testbed.Host{s.C1, s.Node, s.Ext} {
			for _, a := range everyWay(from, f, "tcp", "udp") {
				own := v.Families == nil || slices.Contains(v.Families, a.family())
				if own || f == v.NodePort() || f == v.ClusterIP() && a.Network == "tcp" {
					out = append(out, a)
				}
			}
		}
	}
	return out
}

// familyGoes takes one family from a Service that is in use, and gives it back.
func familyGoes(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "web", Type: "NodePort"})
	if err := s.Apply(ctx, v, testbed.Backends(s.P1)...); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	type use struct {
		Ask
		session *testbed.Session
	}
	var uses []use
	for _, from := range []*testbed.Host{s.C1, s.Ext} {
		for _, f := range v.Frontends() {
			for _, a := range everyWay(from, f, "tcp") {
				session, err := from.Dial(ctx, "tcp", a.To, testbed.From{Patience: patience})
				if err != nil {
					return err
				}
				defer session.Close()
				uses = append(uses, use{a, session})
			}
		}
	}
	one := v
	one.Families, one.Spec = []string{"IPv4"}, []string{"ipFamilyPolicy: SingleStack"}
	for _, step := range []struct {
		label string
		testbed.Service
	}{{"IPv6 has gone", one}, {"IPv6 is back", v}} {
		if err := s.Apply(ctx, step.Service, testbed.Backends(s.P1)...); err != nil {
			return err
		}
		if err := s.Programmed(ctx); err != nil {
			return err
		}
		for _, u := range uses {
			outcome := "goes on"
			if _, err := u.session.Ask(); err != nil {
				outcome = "is broken"
			}
			s.Record(step.label+": connection from before, "+u.String(), outcome)
		}
		s.Ask(ctx, step.label, s.perFamily(step.Service)...)
	}
	return nil
}

// usableAtOnce makes Services and asks each once: no client has to try again.
func usableAtOnce(ctx context.Context, s *Scene) error {
	const services = 3
	var made []testbed.Service
	for range services {
		v := s.Number(testbed.Service{Name: "new", Type: "LoadBalancer", External: true})
		if err := s.Apply(ctx, v, testbed.Backends(s.P1, s.R1)...); err != nil {
			return err
		}
		made = append(made, v)
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	for _, f := range made[0].Frontends() {
		for _, from := range []*testbed.Host{s.C1, s.Node, s.Ext} {
			for _, a := range everyWay(from, f, "tcp", "udp") {
				s.Record("first request, "+a.String(), s.firsts(ctx, a, made))
			}
		}
	}
	return nil
}

// firsts makes the request to the same frontend of each Service, once.
func (s *Scene) firsts(ctx context.Context, a Ask, made []testbed.Service) string {
	for _, v := range made {
		for _, f := range v.Frontends() {
			if f.Name != a.Target {
				continue
			}
			to := f.Addr(a.To.Addr().Is4())
			if what, who := s.once(ctx, Ask{From: a.From, Network: a.Network, To: netip.AddrPortFrom(to.Addr(), to.Port()), With: testbed.From{Patience: patience}}); who == "" {
				return what
			}
		}
	}
	return "answered at once"
}
