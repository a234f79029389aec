package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// The canary is a Service whose port and whose endpoints' port change each time
// that a scenario asks whether a proxy has programmed everything that it was
// told: a proxy hears of Services in order, and of EndpointSlices in order, and
// programs what it has heard.
var canaryNames = []string{"canary even", "canary odd"}

func canaryTarget(generation int) uint16 { return uint16(9000 + generation%len(canaryNames)) }

// Programmed waits until the proxies of both nodes have programmed every change
// that was made before.
func (s *Scene) Programmed(ctx context.Context) error {
	return s.Proxy.programmed(ctx, s.World)
}

// change is one of the canary. Callers that wait at the same time wait for the same
// one: it must begin after their own changes.
type change struct {
	done chan struct{}
	err  error
}

// canary is a proxy's.
type canary struct {
	generation int
	busy       sync.Mutex // while the canary changes
	mu         sync.Mutex // of next
	next       *change    // that has not begun
}

func (p *Proxy) programmed(ctx context.Context, w *World) error {
	c := &p.canary
	c.mu.Lock()
	next, mine := c.next, c.next == nil
	if mine {
		next = &change{done: make(chan struct{})}
		c.next = next
	}
	c.mu.Unlock()
	if !mine {
		<-next.done
		return next.err
	}
	c.busy.Lock()
	c.mu.Lock()
	c.next = nil
	c.mu.Unlock()
	next.err = p.seen(ctx, w)
	c.busy.Unlock()
	close(next.done)
	return next.err
}

// seen changes the canary, and waits until the proxies have programmed that.
func (p *Proxy) seen(ctx context.Context, w *World) error {
	p.canary.generation++
	generation := p.canary.generation
	v := testbed.Service{Name: "canary", Number: 250, Protocols: []string{"TCP"}, Port: 1000 + generation}
	target := canaryTarget(generation)
	text := v.Manifest() + w.Slices(v.Name, "tcp", "TCP", int(target), testbed.Backends(w.P1))
	if err := w.Control.Apply(ctx, text); err != nil {
		return fmt.Errorf("change the canary: %w", err)
	}
	want := canaryNames[generation%len(canaryNames)]
	for _, h := range []*testbed.Host{w.Node, w.Node2} {
		for _, to := range []netip.AddrPort{v.ClusterIP().V4, v.ClusterIP().V6} {
			err := testbed.Await(ctx, time.Minute, func() error {
				a, err := h.Ask(ctx, "tcp", to, testbed.From{Patience: 300 * time.Millisecond})
				if got := testbed.Outcome(a, err); got != want {
					return fmt.Errorf("%s from %s to the canary %s, want %s", got, h.Name, to, want)
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("%s has not programmed the last change: %w\n%s", p.Name, err, p.log())
			}
		}
	}
	return nil
}
