package sweeper

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/pace"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

const (
	// sweepDeadline bounds a sweep: a dump of a million entries takes seconds.
	sweepDeadline = time.Minute
	// sweepRest times the duration of a sweep is the pause after it. So sweeps take a fifth of
	// a core, if conntrack is full and endpoints change all the time.
	sweepRest = 4
)

// Run sweeps whenever the queue has work, until ctx ends. All frontends that are queued during
// a sweep share the next one.
func (f *Sweeper) Run(ctx context.Context) {
	var k kernel.Flows
	defer func() {
		if k != nil {
			_ = k.Close()
		}
	}()
	var delay time.Duration
	for ctx.Err() == nil {
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
			delay = pace.Backoff(delay)
		}
		pace.Pause(ctx, max(sweepRest*time.Since(began), delay))
	}
}

// outcome notes whether sweeps succeed, and logs when this changes.
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

// Sweep searches once for the entries of the queued frontends, and deletes the wrong ones.
func (f *Sweeper) Sweep(ctx context.Context, k kernel.Flows) error {
	var errs []error
	for _, family := range state.Families(true) {
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

// sweep has the frontends of one search.
type sweep struct {
	of     *Sweeper
	family state.Family
	taken  map[state.ID]uint64 // from Sweeper.queued
	ports  nodePorts           // the node ports in taken
	all    uint64              // from Sweeper.all
	parsed map[state.ID]parsed
}

type parsed struct {
	spec      state.SpecRef
	endpoints []netip.AddrPort
}

// take returns a sweep of the queued frontends of a family, or nil if there are none.
func (f *Sweeper) take(family state.Family) *sweep {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &sweep{of: f, family: family, taken: map[state.ID]uint64{}, ports: nodePorts{}, parsed: map[state.ID]parsed{}}
	for id, number := range f.queued {
		if id.Family() == family {
			s.taken[id] = number
			s.ports.add(id)
		}
	}
	all := &f.all[family]
	if *all != 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(f.answers)), func(id state.ID) bool { return id.Family() == family }) {
		*all = 0 // no UDP frontend of the family, and the node may lack the family
	}
	if s.all = *all; s.all == 0 && len(s.taken) == 0 {
		return nil
	}
	return s
}

// to returns the frontends whose flows the kernel should return; nil: those of all.
func (s *sweep) to() []state.ID {
	if s.all != 0 {
		return nil
	}
	return slices.Collect(maps.Keys(s.taken))
}

// done removes the frontends of the sweep from the queue, except those that were queued again
// meanwhile.
func (s *sweep) done() {
	f := s.of
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, number := range s.taken {
		if f.queued[id] == number {
			f.dequeue(id)
		}
	}
	if all := &f.all[s.family]; *all == s.all {
		*all = 0
	}
}

// doomed reports whether a flow must be deleted, by the present state.
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
	case f.complete: // its Service was deleted; a flow without NAT was never to a frontend
		return flow.By != flow.To
	}
	return flow.By == flow.To // such a flow is older than the frontend; another one may have an endpoint that is not known yet
}

// waits reports whether a frontend is in the sweep, and still in the queue.
func (s *sweep) waits(id state.ID) bool {
	_, taken := s.taken[id]
	_, still := s.of.queued[id]
	return taken && still
}

// served returns the frontend that serves the address that a flow dialled. As in the rules, a
// node port comes last.
func (f *Sweeper) served(to state.ID, flow kernel.Flow) state.ID {
	if _, is := f.answers[to]; is {
		return to
	}
	for _, id := range f.ports.dialled(flow) {
		return id
	}
	return to
}

// dialled returns the node ports that a flow dialled.
func (n nodePorts) dialled(flow kernel.Flow) []state.ID {
	if !flow.Node || len(n) == 0 {
		return nil
	}
	all := n[nodePort{state.FamilyOf(flow.To.Addr()), flow.To.Port()}]
	return slices.DeleteFunc(slices.Clone(all), func(id state.ID) bool { return !id.Network().Contains(flow.To.Addr()) })
}

// answers reports whether an endpoint may answer at a frontend.
func (s *sweep) answers(id state.ID, spec state.SpecRef, by netip.AddrPort) bool {
	p, known := s.parsed[id]
	if !known || !p.spec.Equal(spec) {
		p = parsed{spec, spec.Answers()}
		s.parsed[id] = p
	}
	_, is := slices.BinarySearchFunc(p.endpoints, by, netip.AddrPort.Compare)
	return is
}
