package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// endingScenarios are about clients of endpoints that end.
func endingScenarios() []Scenario {
	type service = testbed.Service
	type backend = testbed.Backend
	everyone := service{Name: "web", Type: "LoadBalancer"}
	still := func(name string, v service, choose func(w *World) []backend) Scenario {
		return Scenario{Name: name, Still: &Still{
			Services: []Backed{{v, choose}},
			Asks:     func(s *Scene) []Ask { return s.sides(s.Service("web"), "tcp") },
		}}
	}
	local := everyone
	local.Spec = []string{"externalTrafficPolicy: Local", "internalTrafficPolicy: Local"}
	return chapter("Endpoints that end", together(
		still("one ready, one terminating", everyone, func(w *World) []backend {
			return []backend{{Host: w.P1}, {Host: w.P2, State: "terminating"}}
		}),
		still("all terminating, one of them still serves", everyone, func(w *World) []backend {
			return []backend{{Host: w.P1, State: "dead"}, {Host: w.P2, State: "terminating"}}
		}),
		Scenario{Name: "all terminating, none serves", Play: noneServes},
		still("one not ready, one terminating on the other node", everyone, func(w *World) []backend {
			return []backend{{Host: w.P1, State: "unready"}, {Host: w.R1, State: "terminating"}}
		}),
		still("policies Local, the endpoint here terminating, the other's ready", local, func(w *World) []backend {
			return []backend{{Host: w.P1, State: "terminating"}, {Host: w.R1}}
		}),
		Scenario{Name: "open connections", Play: openConnections},
		Scenario{Name: "source port used again", Play: reusedPorts},
		Scenario{Name: "endpoints replaced one after the other", Play: rolling},
	)...)
}

// noneServes asks where every endpoint is terminating and serves no more. How a
// client is refused is another chapter's; here it matters that it is.
func noneServes(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "dead", Type: "LoadBalancer", Protocols: []string{"TCP"}})
	if err := s.Apply(ctx, v, testbed.Backend{Host: s.P1, State: "dead"}, testbed.Backend{Host: s.R1, State: "dead"}); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	s.reach(ctx, "", s.sides(v, "tcp")...)
	return nil
}

// openConnections holds connections while their endpoint becomes terminating, is
// removed, or goes together with its Service.
func openConnections(ctx context.Context, s *Scene) error {
	type story struct {
		what  string
		v     testbed.Service
		first *testbed.Host
		held  []*held
	}
	var stories []*story
	for _, first := range []*testbed.Host{s.P1, s.R1} {
		for _, what := range []string{"terminating", "removed", "deleted with its Service"} {
			st := &story{what: fmt.Sprintf("endpoint %s %s", first.Name, what), first: first}
			st.v = s.Number(testbed.Service{Name: "open", Type: "LoadBalancer", Protocols: []string{"TCP"}})
			if err := s.Apply(ctx, st.v, testbed.Backend{Host: first}); err != nil {
				return err
			}
			stories = append(stories, st)
		}
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	for i, st := range stories {
		st.held = s.hold(ctx, s.sides(st.v, "tcp")...)
		var err error
		switch i % 3 {
		case 0:
			err = s.Apply(ctx, st.v, testbed.Backend{Host: st.first, State: "terminating"}, testbed.Backend{Host: s.P2})
		case 1:
			err = s.Apply(ctx, st.v, testbed.Backend{Host: s.P2})
		case 2:
			err = s.Control.Delete(ctx, st.v.Name)
		}
		if err != nil {
			return err
		}
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	for _, st := range stories {
		s.goOn(st.what+", open connection", st.held)
	}
	for i, st := range stories {
		if i%3 != 2 {
			s.Ask(ctx, st.what+", new connections", s.sides(st.v, "tcp")...)
		}
	}
	return nil
}

// slow is as long as nothing takes but a packet that was lost and sent again.
const slow = 900 * time.Millisecond

// reusedPorts has clients connect from the same few ports again and again, while
// IPVS and conntrack still remember the connection before; half-way the endpoint
// is replaced.
func reusedPorts(ctx context.Context, s *Scene) error {
	// The client's own memory of a port would keep it from using it again.
	for _, h := range []*testbed.Host{s.C1, s.Node, s.Ext} {
		if err := s.setting(ctx, h, "net.ipv4.tcp_max_tw_buckets", "0"); err != nil {
			return err
		}
	}
	v := s.Number(testbed.Service{Name: "again", Type: "LoadBalancer", Protocols: []string{"TCP"}})
	var all []*again
	for _, reset := range []bool{false, true} {
		for _, a := range s.sides(v, "tcp") {
			all = append(all, &again{Ask: a, reset: reset, port: firstStreamPort + streamPorts.Add(4)%manyStreamPorts})
		}
	}
	for _, to := range []*testbed.Host{s.P1, s.P2} {
		if err := s.put(ctx, v, to); err != nil {
			return err
		}
		const times = 24
		for n := range times {
			for _, g := range all {
				g.ask(ctx, n, to.Name)
			}
		}
	}
	for _, g := range all {
		label := "closed in order: "
		if g.reset {
			label = "closed by reset: "
		}
		s.Record(label+g.Ask.String(), g.outcome())
	}
	return nil
}

// setting sets a sysctl of a host for the time of the scenario.
func (s *Scene) setting(ctx context.Context, h *testbed.Host, key, value string) error {
	was, err := h.Shell(ctx, "sysctl -n "+key)
	if err != nil {
		return err
	}
	return s.Shell(ctx, h, "sysctl -qw "+key+"="+value, "sysctl -qw "+key+"="+strings.TrimSpace(was))
}

// again returns the outcomes of connections that took turns with three source ports.
type again struct {
	Ask
	reset         bool
	port          uint32
	failed        string
	slow, outworn int
}

func (g *again) ask(ctx context.Context, n int, want string) {
	a := g.Ask
	a.With.Port, a.With.Patience = uint16(g.port)+uint16(n%3), patience
	var began time.Time
	var session *testbed.Session
	var failed error
	err := testbed.Await(ctx, patience, func() error {
		began = time.Now()
		session, failed = a.From.Dial(ctx, a.Network, a.To, a.With)
		if errors.Is(failed, syscall.EADDRINUSE) || errors.Is(failed, syscall.EADDRNOTAVAIL) {
			return failed // the client itself is not done with the port
		}
		return nil
	})
	if err = cmp.Or(failed, err); err != nil {
		g.failed = testbed.Outcome(testbed.Answer{}, err)
		return
	}
	if time.Since(began) >= slow {
		g.slow++
	}
	if session.First.Name != want {
		g.outworn++
	}
	if g.reset {
		session.Reset()
	} else {
		session.Close()
	}
}

func (g *again) outcome() string {
	switch {
	case g.failed != "":
		return "some failed: " + g.failed
	case g.outworn > 0:
		return "some reached the endpoint that was removed"
	case g.slow > 1: // one may be the lab's
		return "some were slow"
	}
	return "none failed, none was slow"
}

// rolling replaces endpoints as a rolling update does, while clients connect
// some 200 times a second.
func rolling(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "rolling", Type: "LoadBalancer", Protocols: []string{"TCP"}})
	if err := s.Apply(ctx, v, testbed.Backends(s.P1)...); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	l := s.press(ctx, append(s.sides(v, "tcp"), everyWay(s.RC, v.ClusterIP(), "tcp")...)...)
	defer l.end()
	if err := l.more(ctx, 3); err != nil {
		return err
	}
	turn := []*testbed.Host{s.P1, s.P2, s.R1, s.P1, s.P2}
	for i, fresh := range turn[1:] {
		old := turn[i]
		for _, step := range [][]testbed.Backend{
			{{Host: old}, {Host: fresh}}, // the one before old goes
			{{Host: old, State: "terminating"}, {Host: fresh}},
		} {
			if err := s.Apply(ctx, v, step...); err != nil {
				return err
			}
			if err := s.Programmed(ctx); err != nil {
				return err
			}
		}
	}
	return l.halt(ctx)
}
