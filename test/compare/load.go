package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// load is clients that ask all the time, each its own way, until it is halted.
type load struct {
	scene   *Scene
	ctx     context.Context
	stop    context.CancelFunc
	clients []*client
	running sync.WaitGroup
}

// client is one of a load.
type client struct {
	row      string
	tries    atomic.Int64
	mu       sync.Mutex
	failures map[string]bool // how it failed
	held     *testbed.Session
}

// pace leaves the CPU to those under test: a client asks seven times a second at most.
const pace = 150 * time.Millisecond

// press begins with requests as new connections and sockets, one client each.
func (s *Scene) press(ctx context.Context, asks ...Ask) *load {
	l := &load{scene: s}
	l.ctx, l.stop = context.WithCancel(ctx)
	for _, a := range asks {
		a.With.Patience = patience
		l.client("new connections, "+a.String(), func() error {
			_, err := a.From.Ask(context.WithoutCancel(ctx), a.Network, a.To, a.With)
			return err
		})
	}
	return l
}

// hold adds TCP connections that are held open and send something all the time.
func (l *load) hold(asks ...Ask) {
	for _, a := range asks {
		a.With.Patience = patience
		held, err := a.From.Dial(l.ctx, a.Network, a.To, a.With)
		c := l.client("held connection, "+a.String(), func() error {
			if err != nil {
				return err
			}
			_, err = held.Ask() // stays broken
			return err
		})
		c.held = held
	}
}

func (l *load) client(row string, ask func() error) *client {
	c := &client{row: row, failures: map[string]bool{}}
	l.clients = append(l.clients, c)
	l.running.Go(func() {
		for l.ctx.Err() == nil {
			if err := ask(); err != nil {
				c.fail(testbed.Outcome(testbed.Answer{}, err))
			}
			c.tries.Add(1)
			wait(l.ctx, pace)
		}
	})
	return c
}

func (c *client) fail(how string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures[how] = true
}

// more waits until each client has asked some more times.
func (l *load) more(ctx context.Context, times int64) error {
	want := map[*client]int64{}
	for _, c := range l.clients {
		want[c] = c.tries.Load() + times
	}
	return testbed.Await(ctx, time.Minute, func() error {
		for _, c := range l.clients {
			if got := c.tries.Load(); got < want[c] {
				return fmt.Errorf("%s: asked %d times, want %d", c.row, got, want[c])
			}
		}
		return nil
	})
}

// halt ends the load after a while, and records its failures.
func (l *load) halt(ctx context.Context) error {
	err := l.more(ctx, 3)
	l.end()
	for _, c := range l.clients {
		l.scene.Record(c.row, c.outcome())
	}
	return err
}

// end ends the load. It may be called twice.
func (l *load) end() {
	l.stop()
	l.running.Wait()
	for _, c := range l.clients {
		if c.held != nil {
			c.held.Close()
		}
	}
}

func (c *client) outcome() string {
	if len(c.failures) == 0 {
		return "none failed"
	}
	var how []string
	for f := range c.failures {
		how = append(how, f)
	}
	slices.Sort(how)
	return "some failed: " + strings.Join(how, ", ")
}

// held is a connection that was opened before something happened.
type held struct {
	ask     Ask
	session *testbed.Session
	err     error
}

// hold opens a TCP connection by each of the ways. They end with the scenario.
func (s *Scene) hold(ctx context.Context, asks ...Ask) []*held {
	var out []*held
	for _, a := range asks {
		h := &held{ask: a}
		a.With.Patience = patience
		if h.session, h.err = a.From.Dial(ctx, a.Network, a.To, a.With); h.err == nil {
			s.Undo(func(context.Context) error {
				h.session.Close()
				return nil
			})
		}
		out = append(out, h)
	}
	return out
}

// goOn records which of the connections still carry something both ways.
func (s *Scene) goOn(label string, of []*held) {
	outcomes := make([]string, len(of))
	var all sync.WaitGroup
	for i, h := range of {
		all.Go(func() {
			outcomes[i] = "goes on"
			if h.err != nil {
				outcomes[i] = "was never open: " + testbed.Outcome(testbed.Answer{}, h.err)
				return
			}
			for range 2 { // the second shows the connections that the first ends
				if _, err := h.session.Ask(); err != nil {
					outcomes[i] = testbed.Outcome(testbed.Answer{}, err)
					return
				}
			}
		})
	}
	all.Wait()
	for i, h := range of {
		s.Record(label+": "+h.ask.String(), outcomes[i])
	}
}

// wait returns after a while, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// sides are the ways by which clients of all sorts come: from a pod and the node to
// the ClusterIP, from the LAN to the external frontends.
func (s *Scene) sides(v testbed.Service, networks ...string) []Ask {
	var out []Ask
	for _, from := range []*testbed.Host{s.C1, s.Node} {
		out = append(out, everyWay(from, v.ClusterIP(), networks...)...)
	}
	for _, f := range v.Outside() {
		out = append(out, everyWay(s.Ext, f, networks...)...)
	}
	return out
}

// reach records which endpoints answer, if any: for frontends that should be gone,
// when the kind of refusal does not matter.
func (s *Scene) reach(ctx context.Context, label string, asks ...Ask) {
	if label != "" {
		label += ": "
	}
	outcomes := make([]string, len(asks))
	var all sync.WaitGroup
	for i, a := range asks {
		a.With.Patience = time.Second
		all.Go(func() {
			who := map[string]bool{}
			for range few {
				if answer, err := a.From.Ask(ctx, a.Network, a.To, a.With); err == nil {
					who[answer.Name] = true
				}
			}
			outcomes[i] = noAnswer
			if len(who) > 0 {
				outcomes[i] = strings.Join(slices.Sorted(maps.Keys(who)), " and ") + " answers"
			}
		})
	}
	all.Wait()
	for i, a := range asks {
		s.Record(label+a.String(), outcomes[i])
	}
}
