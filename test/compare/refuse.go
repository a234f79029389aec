package main

import (
	"context"
	"sync"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// refuseScenarios are Services without endpoints that answer.
func refuseScenarios() []Scenario {
	lb := testbed.Service{Name: "web", Type: "LoadBalancer", External: true}
	return chapter("No endpoints",
		Scenario{Name: "no endpoints", Still: &Still{
			Services: []Backed{{lb, nil}},
			Asks:     func(s *Scene) []Ask { return s.allAsks(s.Service("web")) },
		}},
		Scenario{Name: "none is ready", Still: &Still{
			Services: []Backed{{lb, func(w *World) []testbed.Backend {
				return []testbed.Backend{{Host: w.P1, State: "unready"}, {Host: w.R1, State: "dead"}}
			}}},
			Asks: func(s *Scene) []Ask {
				var out []Ask
				for _, f := range s.Service("web").Frontends() {
					for _, from := range []*testbed.Host{s.C1, s.Node, s.Ext} {
						out = append(out, everyWay(from, f, "tcp")...)
					}
				}
				return out
			},
		}},
		Scenario{Name: "many connects at once", Play: manyConnects},
		Scenario{Name: "the first endpoint comes, and goes", Play: comesAndGoes},
	)
}

const (
	connects = 25 // side by side; ICMP errors come six at once, and then one a second
	rounds   = 2  // of which one may show that all are refused at once: load delays
)

// manyConnects finds out whether each of many clients is refused at once, or
// waits until its next SYN is.
func manyConnects(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "web", Type: "LoadBalancer"})
	if err := s.Apply(ctx, v); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	for _, h := range []*testbed.Host{s.Node, s.Node2} {
		if err := s.limitErrors(ctx, h, 1000); err != nil {
			return err
		}
		s.Undo(func(ctx context.Context) error { return s.limitErrors(ctx, h, 0) })
	}
	cluster, lb, port := v.ClusterIP(), v.LoadBalancer(), v.NodePort()
	asks := []Ask{
		{From: s.C1, Network: "tcp", To: cluster.V4, Target: cluster.Name},
		{From: s.Node, Network: "tcp", To: cluster.V6, Target: cluster.Name},
		{From: s.Ext, Network: "tcp", To: lb.V6, Target: lb.Name},
		{From: s.Far, Network: "tcp", To: port.V4, Target: port.Name},
	}
	for _, a := range asks {
		s.Record("25 connects side by side, "+a.String(), s.atOnce(ctx, a))
	}
	return nil
}

func (s *Scene) atOnce(ctx context.Context, a Ask) string {
	for range rounds {
		var wg sync.WaitGroup
		var mu sync.Mutex
		seen := map[string]int{}
		for range connects {
			wg.Go(func() {
				what, _ := s.once(ctx, Ask{From: a.From, Network: a.Network, To: a.To, With: testbed.From{Patience: 950 * time.Millisecond, Why: true}})
				mu.Lock()
				defer mu.Unlock()
				seen[what]++
			})
		}
		wg.Wait()
		if seen["lost"] == 0 && len(seen) == 1 {
			return "all refused at once"
		}
	}
	return "some have to wait"
}

// comesAndGoes has a Service without endpoints get some, and lose them.
func comesAndGoes(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "web", Type: "LoadBalancer", External: true})
	for _, step := range []struct {
		label    string
		backends []testbed.Backend
	}{
		{"none yet", nil},
		{"one has come", testbed.Backends(s.P1)},
		{"it has gone", nil},
	} {
		if err := s.Apply(ctx, v, step.backends...); err != nil {
			return err
		}
		if err := s.Programmed(ctx); err != nil {
			return err
		}
		var asks []Ask
		for _, f := range v.Frontends() {
			for _, from := range []*testbed.Host{s.C1, s.Ext} {
				asks = append(asks, everyWay(from, f, "tcp", "udp")...)
			}
		}
		s.Ask(ctx, step.label, asks...)
	}
	return nil
}
