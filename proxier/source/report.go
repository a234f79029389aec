package source

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"kube-ipvs/proxier/model"
)

// Reporter writes Events (events.k8s.io/v1) about objects that cannot be programmed as they are.
//
// All nodes see the same problems and share the Events: there is one Event for an object and a cause in
// the whole cluster. The first node creates it. While the problem lasts, a node increases its count every
// twenty minutes or so. The more nodes there are, the later and the less often each one asks the API
// server. Nodes do not know how many they are: each one learns it from what it finds.
type Reporter struct {
	servers apiServers
	node    string
	log     *slog.Logger
	poke    chan struct{} // holds one: the problems have changed

	mu   sync.Mutex
	said [][]model.Problem // the last argument of Report

	// Only Run uses these.
	sorted  [][]model.Problem    // the problems in pending
	pending map[string]*incident // by name of the Event
	pace    time.Duration        // between two requests, if the last one succeeded
	rest    time.Duration        // after the last request
	refused bool                 // the last request failed
}

// incident is an Event that should exist.
type incident struct {
	trouble model.Trouble
	due     time.Time     // the next request for it
	again   time.Duration // the least time between the last request and the next
	retry   time.Duration // instead of again, while no API server works; 0: the last request was answered
	told    bool          // there was a request for it
	gone    bool          // the problem is solved; it is kept until it would be due
}

// Limits of Events, so that thousands of problems on thousands of nodes do not overload the API server.
const (
	mostEvents   = 1000             // Events that a node handles
	eventTimeout = 10 * time.Second // of a request
	sortEvery    = time.Second      // between two looks at the problems

	// An Event is counted once in eventAgain, and expires an hour after that. A node asks for it again
	// after once to twice that time, and after twice as long, up to twice eventLongest, each time that
	// it finds that others have counted.
	eventAgain   = 20 * time.Minute
	eventLongest = 8 * time.Hour
	// If no API server works, a node tries again after once to twice retryFirst, and after twice as
	// long each time, up to twice retryLongest: the servers may be back, and the problem is new.
	retryFirst   = 5 * time.Second
	retryLongest = time.Minute

	// The pace is the time between two requests. A node that finds an Event of another node gets
	// slower, and one that had to create or count an Event gets fast again. So with few nodes each is
	// fast, and with many one of them is, by chance. After a failed request a node rests for longer,
	// and has learned nothing of others.
	paceFirst  = 5 * time.Second
	paceFast   = time.Second
	paceSlow   = time.Minute
	paceFactor = 2
	// The new Events of one look are due after one random time of up to spread times the pace, since
	// all nodes see a problem at the same moment.
	spread = 10
)

// NewReporter returns a Reporter that asks the API servers in turn.
func NewReporter(configs []*rest.Config, node string, log *slog.Logger) (*Reporter, error) {
	r := &Reporter{node: node, log: log, poke: make(chan struct{}, 1), pending: map[string]*incident{}, pace: paceFirst}
	for _, c := range configs {
		s, err := newAPIServer(c)
		if err != nil {
			return nil, fmt.Errorf("API server %s: %w", c.Host, err)
		}
		r.servers.all = append(r.servers.all, s)
	}
	return r, nil
}

// Report replaces the current problems. The caller must not change the lists later. It returns at once.
func (r *Reporter) Report(problems ...[]model.Problem) {
	r.mu.Lock()
	r.said = problems
	r.mu.Unlock()
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// Run writes Events until ctx ends.
func (r *Reporter) Run(ctx context.Context) {
	var free time.Time // when the next request may be made
	for {
		r.sort()
		name, next := r.next(latest(time.Now(), free))
		var at time.Time
		if next != nil {
			at = latest(next.due, free)
		}
		switch came, ended := r.wait(ctx, at); {
		case ended:
			return
		case !came:
			continue // another incident may be due now
		}
		by, err := r.tell(ctx, r.event(name, &next.trouble))
		if ctx.Err() != nil {
			return // not a fault of the API server
		}
		r.note(next, by, err)
		free = time.Now().Add(r.rest)
	}
}

// wait waits until at, or until the problems change. A zero at never comes.
func (r *Reporter) wait(ctx context.Context, at time.Time) (came, ended bool) {
	var due <-chan time.Time
	if !at.IsZero() {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
		return false, true
	case <-due:
		return true, false
	case <-r.poke:
	}
	select { // there may be hundreds of rounds a second
	case <-ctx.Done():
		return false, true
	case <-time.After(sortEvery):
		return false, false
	}
}

// sort updates pending to the current problems.
func (r *Reporter) sort() {
	r.mu.Lock()
	said := r.said
	r.mu.Unlock()
	now := time.Now()
	for name, i := range r.pending {
		if i.gone && !i.due.After(now) {
			delete(r.pending, name)
		}
	}
	if sameLists(said, r.sorted) {
		return
	}
	r.sorted = said
	for _, i := range r.pending {
		i.gone = true
	}
	due := now.Add(rand.N(spread * r.pace)) // one for all: the first of a thousand random times would be now, on all nodes
	all, _ := model.Troubles(mostEvents, said...)
	for _, t := range all {
		name := eventName(&t)
		if i := r.pending[name]; i != nil {
			i.trouble, i.gone = t, false
		} else {
			r.pending[name] = &incident{trouble: t, due: due, again: eventAgain}
		}
	}
	for name, i := range r.pending {
		if i.gone && (!i.told || len(r.pending) > mostEvents) {
			delete(r.pending, name)
		}
	}
}

// sameLists reports whether these are the same lists, and not only equal.
func sameLists(a, b [][]model.Problem) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if len(a[i]) != len(b[i]) || len(a[i]) > 0 && &a[i][0] != &b[i][0] {
			return false
		}
	}
	return true
}

// next returns an incident that is due at a time, or else the first one to be due. The namespaces have equal
// chances, and so have the incidents of each: in the order of time a new one would wait for all that a node
// finds at its start, or that a tenant breaks, and in a large cluster that takes hours on every node.
func (r *Reporter) next(at time.Time) (name string, first *incident) {
	due := map[string][]string{}
	for n, i := range r.pending {
		if i.gone {
			continue
		}
		if first == nil || i.due.Before(first.due) {
			name, first = n, i
		}
		if !i.due.After(at) {
			due[i.trouble.Namespace] = append(due[i.trouble.Namespace], n)
		}
	}
	if len(due) > 0 {
		some := slices.Collect(maps.Values(due))
		names := some[rand.N(len(some))]
		name = names[rand.N(len(names))]
		first = r.pending[name]
	}
	return name, first
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// note sets the pace, and the next request for an incident. It treats a request that an API server
// has refused as a good one: an Event is not worth more, and the next answer would be the same.
func (r *Reporter) note(i *incident, by written, err error) {
	switch {
	case err != nil: // others are as unknown as before
	case by == byUs:
		r.pace, i.again = paceFast, eventAgain
	case by == byOthers:
		r.pace, i.again = min(paceFactor*r.pace, paceSlow), min(2*i.again, eventLongest)
	default:
		r.pace = min(paceFactor*r.pace, paceSlow)
	}
	wait := i.again
	if err != nil && silent(err) {
		i.retry = min(max(2*i.retry, retryFirst), retryLongest)
		wait = i.retry
	} else {
		i.retry = 0
	}
	i.told, i.due = true, time.Now().Add(wait+rand.N(wait))
	if err == nil {
		r.rest = r.pace
	} else {
		r.rest = min(paceFactor*max(r.rest, r.pace), paceSlow)
	}
	if err != nil && !r.refused {
		r.log.Warn("Events cannot be written; this log has the problems", "err", err)
	}
	r.refused = err != nil
}
