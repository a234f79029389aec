package sweeper

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

const (
	// sweepDeadline bounds a sweep: a dump of a million entries takes seconds.
	sweepDeadline = time.Minute
	// sweepRest is how many times as long as a sweep took there is none after
	// it: where conntrack is full and endpoints never stay, that is a fifth of a core.
	sweepRest = 4
	// After a sweep that fails there is none for retryFirst, and twice as long each time
	// up to retryLast.
	retryFirst = 100 * time.Millisecond
	retryLast  = 30 * time.Second
)

// Run sweeps whenever something is queued, until ctx ends. What is queued
// meanwhile, however much, goes in the next sweep together.
func (f *Sweeper) Run(ctx context.Context) {
	var k kernel.Flows
	defer func() {
		if k != nil {
			_ = k.Close()
		}
	}()
	var delay time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.poke:
		}
		began := time.Now()
		var err error
		if k == nil {
			k, err = f.kernel.Flows(ctx)
		}
		if err == nil {
			err = f.Sweep(ctx, k)
		}
		if ctx.Err() != nil {
			return
		}
		if f.outcome(err); err == nil {
			delay = 0
		} else {
			delay = min(max(2*delay, retryFirst), retryLast)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(sweepRest*time.Since(began), delay)):
		}
	}
}

// outcome notes whether sweeps succeed, and says so when that changes.
func (f *Sweeper) outcome(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err != nil && f.failing == nil:
		f.failed = time.Now()
		f.log.Warn("the search of conntrack entries fails; it is tried again", "err", err)
	case err == nil && f.failing != nil:
		f.failed = time.Time{}
		f.log.Info("the search of conntrack entries succeeds again", "was", f.failing)
	}
	if f.failing = err; err != nil {
		f.wake()
	}
}

// Sweep looks through what is queued, once.
func (f *Sweeper) Sweep(ctx context.Context, k kernel.Flows) error {
	var errs []error
	for _, family := range []int{4, 6} {
		s := f.take(family)
		if s == nil {
			continue
		}
		began := time.Now()
		within, cancel := context.WithTimeout(ctx, sweepDeadline)
		n, err := k.Delete(within, family, s.to(), s.doomed)
		cancel()
		if err == nil {
			s.done()
		}
		errs = append(errs, err)
		if f.observe != nil {
			f.observe(&report.Sweep{Family: family, Took: time.Since(began), Deleted: n, Err: err, Flows: f.Sum()})
		}
	}
	return errors.Join(errs...)
}

// sweep is what is looked through at once.
type sweep struct {
	of     *Sweeper
	family int
	taken  map[state.ID]uint64 // of Sweeper.queued
	ports  nodePorts           // those of taken that are
	all    uint64              // of Sweeper.all
	parsed map[state.ID]parsed
}

type parsed struct {
	spec      state.SpecRef
	endpoints []netip.AddrPort
}

// take returns what is queued of a family, or nil.
func (f *Sweeper) take(family int) *sweep {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &sweep{of: f, family: family, taken: map[state.ID]uint64{}, ports: nodePorts{}, parsed: map[state.ID]parsed{}}
	for id, number := range f.queued {
		if id.Family() == family {
			s.taken[id] = number
			s.ports.add(id)
		}
	}
	all := &f.all[family/6]
	if *all != 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(f.answers)), func(id state.ID) bool { return id.Family() == family }) {
		*all = 0 // no UDP frontend of the family, which the node may not even have
	}
	if s.all = *all; s.all == 0 && len(s.taken) == 0 {
		return nil
	}
	return s
}

// to returns the frontends to which flows are looked at; none: all are.
func (s *sweep) to() []state.ID {
	if s.all != 0 {
		return nil
	}
	return slices.Collect(maps.Keys(s.taken))
}

// done takes what was looked through out of the queue, unless it came to be there
// again meanwhile.
func (s *sweep) done() {
	f := s.of
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, number := range s.taken {
		if f.queued[id] == number {
			f.dequeue(id)
		}
	}
	if all := &f.all[s.family/6]; *all == s.all {
		*all = 0
	}
}

// doomed reports whether a flow must be deleted, as things are now.
func (s *sweep) doomed(flow kernel.Flow) bool {
	f := s.of
	f.mu.Lock()
	defer f.mu.Unlock()
	to := state.FlowID(flow.Proto, flow.To)
	if flow.Proto != state.UDP {
		return s.waits(to) && flow.By == flow.To && !flow.Answered
	}
	served := f.served(to, flow)
	spec, is := f.answers[served]
	switch {
	case !s.waits(to) && !slices.ContainsFunc(s.ports.dialled(flow), s.waits) && !(is && s.all != 0):
		return false
	case is:
		return !s.answers(served, spec, flow.By)
	case f.complete: // its Service has gone; one without NAT was never ours
		return flow.By != flow.To
	}
	return flow.By == flow.To // that is older than the frontend, and else an endpoint may just not be known yet
}

// waits reports whether a frontend was taken, and was not taken back since.
func (s *sweep) waits(id state.ID) bool {
	_, taken := s.taken[id]
	_, still := s.of.queued[id]
	return taken && still
}

// served returns the frontend that serves what a flow dialled: as in the rules a
// node port is served where nothing else is.
func (f *Sweeper) served(to state.ID, flow kernel.Flow) state.ID {
	if _, is := f.answers[to]; is {
		return to
	}
	for _, id := range f.ports.dialled(flow) {
		return id
	}
	return to
}

// dialled returns those that a flow is to.
func (n nodePorts) dialled(flow kernel.Flow) []state.ID {
	if !flow.Node || len(n) == 0 {
		return nil
	}
	family := 6
	if flow.To.Addr().Is4() {
		family = 4
	}
	all := n[nodePort{family, flow.To.Port()}]
	return slices.DeleteFunc(slices.Clone(all), func(id state.ID) bool { return !id.Network().Contains(flow.To.Addr()) })
}

// answers reports whether an endpoint is one of those that may answer.
func (s *sweep) answers(id state.ID, spec state.SpecRef, by netip.AddrPort) bool {
	p, known := s.parsed[id]
	if !known || !p.spec.Equal(spec) {
		p = parsed{spec, spec.Answers()}
		s.parsed[id] = p
	}
	_, is := slices.BinarySearchFunc(p.endpoints, by, netip.AddrPort.Compare)
	return is
}
