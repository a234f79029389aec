package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// stream is datagrams from one port to one address, several a second, with the
// endpoints that answered them.
type stream struct {
	ask  Ask
	mu   sync.Mutex
	seen []reply
}

type reply struct {
	at  time.Time
	who string
}

// streamPorts are below those that the kernel takes, and below node ports.
var streamPorts atomic.Uint32

const (
	firstStreamPort, manyStreamPorts = 20000, 9000
	// datagramPatience is how long a stream waits for an answer before it sends on.
	datagramPatience = 400 * time.Millisecond
	// streamPause is between an answer and the next datagram.
	streamPause = 150 * time.Millisecond
	// streamLimit is how long a stream is given to move before it is said never to.
	streamLimit = 8 * time.Second
)

// streams starts to send by each of the ways, until the scenario is over.
func (s *Scene) streams(ctx context.Context, asks ...Ask) ([]*stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	s.Undo(func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
	var out []*stream
	for _, a := range asks {
		a.With.Patience = datagramPatience
		a.With.Port = uint16(firstStreamPort + streamPorts.Add(1)%manyStreamPorts)
		session, err := a.From.Dial(ctx, "udp", a.To, a.With)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a, err)
		}
		st := &stream{ask: a}
		out = append(out, st)
		running.Go(func() {
			defer session.Close()
			for ctx.Err() == nil {
				if answer, err := session.Ask(); err == nil {
					st.note(answer.Name)
				}
				wait(ctx, streamPause)
			}
		})
	}
	return out, nil
}

func (s *stream) note(who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, reply{time.Now(), who})
}

// since returns the answers that came after some time.
func (s *stream) since(t time.Time) []reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.seen, func(r reply) bool { return r.at.After(t) })
	if at < 0 {
		return nil
	}
	return slices.Clone(s.seen[at:])
}

// moved waits until an endpoint answers, and says how soon it did.
func (s *stream) moved(ctx context.Context, from time.Time, to string) string {
	var first time.Time
	const enough = 3
	_ = testbed.Await(ctx, streamLimit, func() error {
		seen := s.since(from)
		at := slices.IndexFunc(seen, func(r reply) bool { return r.who == to })
		if at < 0 {
			return fmt.Errorf("%s: no answer of %s", s.ask, to)
		}
		first = seen[at].at
		if len(seen) < at+enough {
			return fmt.Errorf("%s: only %d answers of %s", s.ask, len(seen)-at, to)
		}
		return nil
	})
	switch took := first.Sub(from); {
	case first.IsZero():
		return to + " never answers"
	case slices.ContainsFunc(s.since(first), func(r reply) bool { return r.who != to }):
		return to + " and others answer"
	case took < time.Second:
		return to + " answers at once"
	default:
		return to + " answers after a pause"
	}
}

// moved records of each stream how soon an endpoint answers from now on.
func (s *Scene) moved(ctx context.Context, label string, of []*stream, to string) {
	now := time.Now()
	outcomes := make([]string, len(of))
	var all sync.WaitGroup
	for i, st := range of {
		all.Go(func() { outcomes[i] = st.moved(ctx, now, to) })
	}
	all.Wait()
	for i, st := range of {
		s.Record(label+": "+st.ask.String(), outcomes[i])
	}
}

// flow waits until an endpoint answers each stream, and returns the endpoints.
func flow(ctx context.Context, of []*stream) []string {
	now := time.Now()
	out := make([]string, len(of))
	for i, st := range of {
		_ = testbed.Await(ctx, streamLimit, func() error {
			seen := st.since(now)
			if len(seen) < 3 {
				return fmt.Errorf("%s: %d answers", st.ask, len(seen))
			}
			out[i] = seen[len(seen)-1].who
			return nil
		})
	}
	return out
}
