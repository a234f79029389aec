package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// affinityScenarios are Services that keep a client at its endpoint.
func affinityScenarios() []Scenario {
	return chapter("Session affinity",
		Scenario{Name: "a client keeps its endpoint", Play: affinityKeeps},
		Scenario{Name: "endpoints go and come", Play: affinityMoves},
		Scenario{Name: "after the timeout", Play: affinityEnds},
		Scenario{Name: "the proxy restarts", Play: affinityRestart},
	)
}

// sticky is a Service of which clients are to keep endpoints for so many seconds.
func (s *Scene) sticky(name string, seconds int) testbed.Service {
	return s.Number(testbed.Service{Name: name, Type: "LoadBalancer", Spec: []string{
		"sessionAffinity: ClientIP", fmt.Sprintf("sessionAffinityConfig: {clientIP: {timeoutSeconds: %d}}", seconds),
	}})
}

// byClient returns requests of all clients to all frontends of a Service, so
// that those of one client over one protocol and family stand together.
func (s *Scene) byClient(v testbed.Service) [][]Ask {
	var out [][]Ask
	for _, from := range []*testbed.Host{s.C1, s.RC, s.Node, s.Ext, s.Far} {
		frontends := []testbed.Frontend{v.ClusterIP(), v.LoadBalancer(), v.NodePort()}
		if from == s.Far {
			frontends = frontends[1:] // it has no route to a ClusterIP
		}
		for way := range everyWay(from, frontends[0], "tcp", "udp") {
			var asks []Ask
			for _, f := range frontends {
				asks = append(asks, everyWay(from, f, "tcp", "udp")[way])
			}
			out = append(out, asks)
		}
	}
	return out
}

// stuck makes each request some times one after another, and returns the endpoint that
// answered, "several", or the failure. The requests of a row come one after another.
func (s *Scene) stuck(ctx context.Context, rows [][]Ask) [][]string {
	const times = 5
	out := make([][]string, len(rows))
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, row := range rows {
		slots <- struct{}{}
		wg.Go(func() {
			for _, a := range row {
				out[i] = append(out[i], s.glued(ctx, a, times))
			}
			<-slots
		})
	}
	wg.Wait()
	return out
}

func (s *Scene) glued(ctx context.Context, a Ask, times int) string {
	a.With.Patience = patience
	first := ""
	for i := range times {
		got := testbed.Outcome(a.From.Ask(ctx, a.Network, a.To, a.With))
		if got == "lost" { // by a busy machine, perhaps
			got = testbed.Outcome(a.From.Ask(ctx, a.Network, a.To, a.With))
		}
		if i == 0 {
			first = got
		} else if got != first {
			return "several"
		}
	}
	return first
}

// affinityKeeps asks through all frontends.
func affinityKeeps(ctx context.Context, s *Scene) error {
	v := s.sticky("web", 600)
	if err := s.Apply(ctx, v, testbed.Backends(s.P1, s.P2, s.R1)...); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	rows := s.byClient(v)
	shared := map[string]bool{}
	for i, names := range s.stuck(ctx, rows) {
		for j, name := range names {
			if name != "several" && slices.Contains([]string{"p1", "p2", "r1"}, name) {
				name = "one endpoint"
			}
			s.Record(rows[i][j].String(), name)
		}
		// By way of two nodes it cannot be the same.
		if a := rows[i][0]; a.From != s.RC {
			key := "a client's endpoint by each of the frontends, " + a.Network
			before, ok := shared[key]
			shared[key] = (before || !ok) && len(slices.Compact(slices.Clone(names))) == 1
		}
	}
	for key, same := range shared {
		s.Record(key, map[bool]string{true: "the same", false: "may be another"}[same])
	}
	return nil
}

// affinityMoves takes an endpoint away and brings it back.
func affinityMoves(ctx context.Context, s *Scene) error {
	v, other := s.sticky("web", 600), s.sticky("other", 600)
	all := testbed.Backends(s.P1, s.P2, s.R1)
	for _, v := range []testbed.Service{v, other} {
		if err := s.Apply(ctx, v, all...); err != nil {
			return err
		}
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	rows, others := s.byClient(v), s.byClient(other)
	first, foreign := s.stuck(ctx, rows), s.stuck(ctx, others)
	if err := s.Apply(ctx, v, all[1:]...); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	second := s.stuck(ctx, rows)
	s.compare("clients of an endpoint that goes", rows, first, second, func(name string) bool { return name == "p1" })
	s.compare("clients of other endpoints, meanwhile", rows, first, second, func(name string) bool { return name != "p1" })
	s.compare("clients of the endpoint in another Service, meanwhile", others, foreign, s.stuck(ctx, others), func(name string) bool { return name == "p1" })
	if err := s.Apply(ctx, v, all...); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	s.compare("all clients, when it comes back", rows, second, s.stuck(ctx, rows), func(string) bool { return true })
	return nil
}

// compare records the outcomes of clients whose endpoint was one of those.
func (s *Scene) compare(what string, rows [][]Ask, before, after [][]string, of func(string) bool) {
	for _, network := range []string{"tcp", "udp"} {
		seen := map[string]bool{}
		for i, row := range rows {
			for j := range row {
				switch was, is := before[i][j], after[i][j]; {
				case row[j].Network != network || !of(was):
				case is == was:
					seen["stay"] = true
				case slices.Contains([]string{"p1", "p2", "r1"}, is):
					seen["move to one other"] = true
				default:
					seen[is] = true
				}
			}
		}
		s.Record(what+", "+network, words(seen))
	}
}

// affinityEnds has clients come back when their time is over. Each of many may
// get its old endpoint again by chance, but not all.
func affinityEnds(ctx context.Context, s *Scene) error {
	const seconds = 3
	v := s.sticky("web", seconds)
	if err := s.Apply(ctx, v, testbed.Backends(s.P1, s.P2, s.R1)...); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	rows := s.byClient(v)
	before := s.stuck(ctx, rows)
	over := time.After((seconds + 2) * time.Second)
	s.Later(func(ctx context.Context) error {
		select {
		case <-over:
		case <-ctx.Done():
			return ctx.Err()
		}
		after := s.stuck(ctx, rows)
		for _, network := range []string{"tcp", "udp"} {
			moved := false
			for i, row := range rows {
				for j := range row {
					moved = moved || row[j].Network == network && before[i][j] != after[i][j]
				}
			}
			s.Record("clients that come back after it, "+network, map[bool]string{true: "may get another endpoint", false: "all stay"}[moved])
		}
		return nil
	})
	return nil
}

func affinityRestart(ctx context.Context, s *Scene) error {
	v := s.sticky("web", 600)
	if err := s.Apply(ctx, v, testbed.Backends(s.P1, s.P2, s.R1)...); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	rows := slices.DeleteFunc(s.byClient(v), func(row []Ask) bool { return row[0].From == s.RC })
	before := s.stuck(ctx, rows)
	if err := s.Proxy.Restart(ctx, s.World, s.Node); err != nil {
		return err
	}
	s.compare("all clients, when it is there again", rows, before, s.stuck(ctx, rows), func(string) bool { return true })
	return nil
}

// words are the observations, in their order.
func words(seen map[string]bool) string {
	var out sightings = map[string]map[string]bool{}
	for what := range seen {
		out.note(what, "")
	}
	return out.String()
}
