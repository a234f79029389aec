package main

import (
	"context"
	"slices"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// restartScenarios are about clients during a restart of the proxy.
func restartScenarios() []Scenario {
	return chapter("Restart of the proxy",
		Scenario{Name: "under load", Play: restarted},
		Scenario{Name: "with changes meanwhile", Play: changedMeanwhile},
	)
}

// restarted restarts the proxy on the node while clients of all sorts connect,
// hold connections and send datagrams from one port.
func restarted(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "restarted", Type: "LoadBalancer", External: true})
	empty := s.Number(testbed.Service{Name: "restarted-empty", Protocols: []string{"TCP"}})
	if err := s.Apply(ctx, empty); err != nil {
		return err
	}
	if err := s.put(ctx, v, s.P1, s.R1); err != nil {
		return err
	}
	l := s.press(ctx, append(s.sides(v, "tcp", "udp"), everyWay(s.RC, v.ClusterIP(), "tcp", "udp")...)...)
	defer l.end()
	l.hold(s.sides(v, "tcp")...)
	streams, err := s.streams(ctx, s.sides(v, "udp")...)
	if err != nil {
		return err
	}
	before := flow(ctx, streams)
	began := time.Now()
	if err := s.Proxy.Restart(ctx, s.World, s.Node); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	if err := l.halt(ctx); err != nil {
		return err
	}
	flow(ctx, streams) // has each of them answered some more
	for i, st := range streams {
		outcome := "keeps its endpoint"
		switch {
		case before[i] == "":
			outcome = noAnswer
		case slices.ContainsFunc(st.since(began), func(r reply) bool { return r.who != before[i] }):
			outcome = "moves"
		}
		s.Record("datagrams from one port, "+st.ask.String(), outcome)
	}
	s.reach(ctx, "without endpoints", everyWay(s.C1, empty.ClusterIP(), "tcp")...)
	return nil
}

// changedMeanwhile has Services change while no proxy runs on the node.
func changedMeanwhile(ctx context.Context, s *Scene) error {
	number := func(name string) testbed.Service {
		return s.Number(testbed.Service{Name: name, Type: "LoadBalancer"})
	}
	kept, changed, gone, fresh := number("kept"), number("changed"), number("gone"), number("fresh")
	for _, v := range []testbed.Service{kept, changed, gone} {
		if err := s.Apply(ctx, v, testbed.Backends(s.P1)...); err != nil {
			return err
		}
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	held := s.hold(ctx, append(append(s.sides(kept, "tcp"), s.sides(changed, "tcp")...), s.sides(gone, "tcp")...)...)
	streams, err := s.streams(ctx, s.sides(changed, "udp")...)
	if err != nil {
		return err
	}
	s.moved(ctx, "before", streams, "p1")
	if err := s.Proxy.StopOn(s.World, s.Node); err != nil {
		return err
	}
	err = s.Apply(ctx, changed, testbed.Backends(s.P2)...)
	if err == nil {
		err = s.Control.Delete(ctx, gone.Name)
	}
	if err == nil {
		err = s.Apply(ctx, fresh, testbed.Backends(s.P2)...)
	}
	if err == nil {
		err = s.Proxy.StartOn(ctx, s.World, s.Node)
	}
	if err == nil {
		err = s.Programmed(ctx)
	}
	if err != nil {
		return err
	}
	s.moved(ctx, "endpoint replaced, datagrams from the same port", streams, "p2")
	n := len(held) / 3
	s.goOn("nothing changed, open connection", held[:n])
	s.goOn("endpoint replaced, open connection", held[n:2*n])
	s.goOn("Service deleted, open connection", held[2*n:])
	s.Ask(ctx, "endpoint replaced, new connections", s.sides(changed, "tcp")...)
	s.Ask(ctx, "Service made", s.sides(fresh, "tcp")...)
	s.reach(ctx, "Service deleted, new connections", append(everyWay(s.C1, gone.ClusterIP(), "tcp"), everyWay(s.Ext, gone.NodePort(), "tcp")...)...)
	return nil
}
