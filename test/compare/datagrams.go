package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// datagramScenarios are about UDP clients that keep their port.
func datagramScenarios() []Scenario {
	return chapter("UDP clients that keep their port", together(
		Scenario{Name: "the endpoint is replaced", Play: replacedUnder},
		Scenario{Name: "the only endpoint goes and comes again", Play: emptiedUnder},
		Scenario{Name: "sending before there is an endpoint", Play: sentToEmpty},
		Scenario{Name: "sending before there is a Service", Play: sentBefore},
		Scenario{Name: "many questions from one port", Play: questions},
	)...)
}

// datagramSides are sides and a pod of the other node.
func (s *Scene) datagramSides(v testbed.Service) []Ask {
	return append(s.sides(v, "udp"), everyWay(s.RC, v.ClusterIP(), "udp")...)
}

func (s *Scene) datagramService() testbed.Service {
	return s.Number(testbed.Service{Name: "datagrams", Type: "LoadBalancer", External: true, Protocols: []string{"UDP"}})
}

func replacedUnder(ctx context.Context, s *Scene) error {
	v := s.datagramService()
	if err := s.put(ctx, v, s.P1); err != nil {
		return err
	}
	streams, err := s.streams(ctx, s.datagramSides(v)...)
	if err != nil {
		return err
	}
	s.moved(ctx, "first", streams, "p1")
	for _, next := range []struct {
		label string
		to    *testbed.Host
	}{{"by one on this node", s.P2}, {"by one on the other node", s.R1}} {
		if err := s.put(ctx, v, next.to); err != nil {
			return err
		}
		s.moved(ctx, next.label, streams, next.to.Name)
	}
	// It still serves, for the clients that it has.
	if err := s.Apply(ctx, v, testbed.Backend{Host: s.R1, State: "terminating"}, testbed.Backend{Host: s.P1}); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	now := time.Now()
	for i, who := range flow(ctx, streams) {
		if moved := slices.ContainsFunc(streams[i].since(now), func(r reply) bool { return r.who != who }); moved {
			who += " and others"
		}
		outcome := noAnswer
		if who != "" {
			outcome = who + " answers"
		}
		s.Record("r1 terminating, p1 ready: "+streams[i].ask.String(), outcome)
	}
	if err := s.Apply(ctx, v, testbed.Backend{Host: s.R1, State: "dead"}, testbed.Backend{Host: s.P1}); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	s.moved(ctx, "r1 serves no more", streams, "p1")
	return nil
}

// put gives a Service these endpoints, and waits until that is programmed.
func (s *Scene) put(ctx context.Context, v testbed.Service, of ...*testbed.Host) error {
	if err := s.Apply(ctx, v, testbed.Backends(of...)...); err != nil {
		return err
	}
	return s.Programmed(ctx)
}

func emptiedUnder(ctx context.Context, s *Scene) error {
	v := s.datagramService()
	if err := s.put(ctx, v, s.P1); err != nil {
		return err
	}
	streams, err := s.streams(ctx, s.datagramSides(v)...)
	if err != nil {
		return err
	}
	s.moved(ctx, "first", streams, "p1")
	if err := s.put(ctx, v); err != nil {
		return err
	}
	now := time.Now()
	wait(ctx, time.Second) // in which no endpoint should answer
	for _, st := range streams {
		outcome := noAnswer
		if seen := st.since(now.Add(datagramPatience)); len(seen) > 0 {
			outcome = seen[0].who + " answers"
		}
		s.Record("while there is none: "+st.ask.String(), outcome)
	}
	if err := s.put(ctx, v, s.P1); err != nil {
		return err
	}
	s.moved(ctx, "the same again", streams, "p1")
	return nil
}

func sentToEmpty(ctx context.Context, s *Scene) error {
	v := s.datagramService()
	if err := s.put(ctx, v); err != nil {
		return err
	}
	streams, err := s.streams(ctx, s.datagramSides(v)...)
	if err != nil {
		return err
	}
	wait(ctx, time.Second) // some datagrams
	if err := s.put(ctx, v, s.R1); err != nil {
		return err
	}
	s.moved(ctx, "then", streams, "r1")
	return nil
}

func sentBefore(ctx context.Context, s *Scene) error {
	v := s.datagramService()
	streams, err := s.streams(ctx, s.datagramSides(v)...)
	if err != nil {
		return err
	}
	wait(ctx, time.Second) // some datagrams, which conntrack sees go elsewhere
	if err := s.put(ctx, v, s.P1); err != nil {
		return err
	}
	s.moved(ctx, "then", streams, "p1")
	return nil
}

// questions are as those of a resolver: two at once from a new port, and many
// from the same one.
func questions(ctx context.Context, s *Scene) error {
	v := s.datagramService()
	if err := s.put(ctx, v, s.P1, s.R1); err != nil {
		return err
	}
	asks := s.datagramSides(v)
	pairs, many := make([]string, len(asks)), make([]string, len(asks))
	var all sync.WaitGroup
	for i, a := range asks {
		all.Go(func() {
			pairs[i] = "none lost"
			for range 20 {
				if err := pairOf(ctx, a); err != nil {
					pairs[i] = "some lost: " + testbed.Outcome(testbed.Answer{}, err)
				}
			}
			many[i] = samePort(ctx, a, 100)
		})
	}
	all.Wait()
	for i, a := range asks {
		s.Record("two at once: "+a.String(), pairs[i])
		s.Record("each by a socket of its own, same port: "+a.String(), many[i])
	}
	return nil
}

// pairOf sends two datagrams at once and waits for both answers.
func pairOf(ctx context.Context, a Ask) error {
	c, err := a.From.DialContext(ctx, "udp", a.To.String())
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 512)
	for range 2 {
		if _, err := c.Write([]byte("question\n")); err != nil {
			return err
		}
	}
	for range 2 {
		if _, err := c.Read(buf); err != nil {
			return err
		}
	}
	return nil
}

// samePort asks by one socket after another that all have the same port. One
// flow stays with one endpoint.
func samePort(ctx context.Context, a Ask, times int) string {
	a.With.Port = uint16(firstStreamPort + streamPorts.Add(1)%manyStreamPorts)
	a.With.Patience = patience
	who := map[string]bool{}
	for range times {
		answer, err := a.From.Ask(ctx, a.Network, a.To, a.With)
		if err != nil {
			return "some lost: " + testbed.Outcome(answer, err)
		}
		who[answer.Name] = true
	}
	return fmt.Sprintf("none lost, %d answered", len(who))
}
