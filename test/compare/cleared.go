package main

import (
	"context"
	"fmt"
	"time"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// cleared removes all virtual servers of the node behind the proxy's back: connections that
// are established, and new ones.
func cleared(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "web", Type: "LoadBalancer"})
	if err := s.Apply(ctx, v, testbed.Backends(s.P1)...); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	asks := append(crossing([]*testbed.Host{s.C1, s.Node}, v.Frontends(), "tcp"), crossing([]*testbed.Host{s.Ext}, v.Outside(), "tcp")...)
	sessions := make([]*testbed.Session, len(asks))
	for i, a := range asks {
		session, err := a.From.Dial(ctx, a.Network, a.To, testbed.From{Patience: patience})
		if err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
		defer session.Close()
		sessions[i] = session
	}
	if err := s.Shell(ctx, s.Node, "ipvsadm -C", ""); err != nil {
		return err
	}
	for i, a := range asks {
		_, err := sessions[i].Ask()
		s.Record("an established connection: "+a.String(), testbed.Outcome(testbed.Answer{Name: "lives"}, err))
	}
	for i, seen := range s.again(ctx, asks) {
		s.Record("a new connection within 40 s: "+asks[i].String(), seen)
	}
	return nil
}

// again waits until each of the requests is answered: a proxy finds changes of
// IPVS by looking only, since the kernel sends no message of them.
func (s *Scene) again(ctx context.Context, asks []Ask) []string {
	out := make([]string, len(asks))
	_ = cluster.Each(len(asks), func(i int) error {
		out[i] = "answered"
		if err := testbed.Await(ctx, 40*time.Second, func() error {
			_, err := asks[i].From.Ask(ctx, asks[i].Network, asks[i].To, testbed.From{Patience: time.Second})
			return err
		}); err != nil {
			out[i] = "not answered"
		}
		return nil
	})
	return out
}
