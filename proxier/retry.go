package proxier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// fail keeps a write that failed as a difference.
func (p *Proxier) fail(r *report.Round, op state.Op, err error, j *work) *status {
	f := report.Failure{Op: op, Err: err}
	r.Failures = append(r.Failures, f)
	s := p.ledger.fail(f, j.earlier[op.ID])
	// Reading the kernel costs what the cluster is large: an object asks for
	// it once, and then waits for the audit.
	if errors.Is(err, kernel.ErrStale) && !s.asked {
		s.asked = true
		p.stale = true
	}
	// The source address of a VIP may have left the node, IPv6 been switched off, or the
	// kernel have shown that it has no dummy devices.
	if (op.ID.Kind == state.VIP || op.ID.Kind == state.Route) && p.factsAt.IsZero() {
		p.factsAt = p.factsRead.Add(factsInterval)
	}
	return s
}

// schedule sets when the loop wakes by itself.
func (p *Proxier) schedule(r *report.Round) {
	now := time.Now()
	if len(p.unfinished) > 0 {
		p.goOnAt = now
	}
	p.checks.Schedule(r.Full || r.Audited, p.config.AuditPeriod, p.config.CanaryPeriod)
	switch {
	case len(p.draining) == 0:
		p.drainAt = time.Time{}
	case p.drainAt.IsZero() || due(p.drainAt):
		p.drainAt = now.Add(drainInterval)
	}
	p.retryAt = p.ledger.sum().next
	switch {
	case !p.stale:
		p.rereadAt, p.rereadDelay = time.Time{}, 0
	case p.rereadAt.IsZero() || due(p.rereadAt):
		p.backOff()
	}
}

// backOff sets when the kernel is read again, each time later than the one before.
func (p *Proxier) backOff() {
	p.rereadDelay = min(max(2*p.rereadDelay, retryFirst), retryLast)
	p.rereadAt = time.Now().Add(p.rereadDelay)
}

// readKernel reads what is programmed. With an earlier state at hand it notes
// in the round what others have changed since.
func (p *Proxier) readKernel(ctx context.Context, r *report.Round) error {
	read, err := p.kernel.Read(ctx)
	if err != nil {
		return fmt.Errorf("read what is programmed: %w", err)
	}
	if p.actual != nil && !p.stale {
		if drift := differences(p.actual, read); len(drift) > 0 {
			if read, err = p.kernel.Read(ctx); err != nil {
				return fmt.Errorf("read what is programmed again: %w", err)
			}
			r.Drift = slices.DeleteFunc(agreed(drift, p.actual, read), p.setRight)
		}
	}
	p.checks.Trust()
	p.actual, p.stale = read, false
	p.digest, p.objects = digestOf(read), read.Count()
	return nil
}

// digestOf sums up what was read.
func digestOf(s *state.State) *state.Digest {
	d := &state.Digest{}
	for id, spec := range s.All() {
		d.Add(id, spec)
	}
	return d
}

// setRight reports whether an object has changed that the loop could not write: by
// an operator who has done it instead, such as with a sysctl.
func (p *Proxier) setRight(d report.Drift) bool { return p.ledger.of[d.ID] != nil }

// agreed returns what a second reading sets apart from what was believed, of the objects of
// which the first did, too, sorted. Of all others it makes in read what was believed: a dump may
// lack what a resize of the kernel's table moves, or, up to Linux 6.12 at least, virtual servers
// while those of other network namespaces come and go, each dump others (TestEdits on 6.1, where
// such a virtual server was added once more and its Service had a problem).
func agreed(first []report.Drift, believed, read *state.State) (out []report.Drift) {
	for _, d := range differences(believed, read) {
		if _, both := slices.BinarySearchFunc(first, d.ID, func(f report.Drift, id state.ID) int { return f.ID.Compare(id) }); both {
			out = append(out, d)
		} else if spec, ok := believed.Get(d.ID); ok {
			read.Put(d.ID, spec)
		} else {
			read.Delete(d.ID)
		}
	}
	return out
}

// differences tells what sets read apart from what was believed, sorted.
func differences(believed, read *state.State) []report.Drift {
	var out []report.Drift
	for id, spec := range believed.All() {
		if have, ok := read.Get(id); !ok {
			out = append(out, report.Drift{ID: id, What: "is gone"})
		} else if !have.Equal(spec) {
			what := "was changed"
			switch {
			case id.Kind == state.Rules:
				what += ": " + have.Value().Text
			case id.Kind == state.VIP && have.Value().Bare && !spec.Value().Bare:
				what += ": its address is gone from kube-ipvs0"
			}
			out = append(out, report.Drift{ID: id, What: what})
		}
	}
	for id := range read.All() {
		if !believed.Has(id) {
			out = append(out, report.Drift{ID: id, What: "was added"})
		}
	}
	slices.SortFunc(out, func(a, b report.Drift) int { return a.ID.Compare(b.ID) })
	return out
}

// probeSchedulers asks the kernel for schedulers that Services name and that
// were not asked for before; with again, also for those that were missing.
func (p *Proxier) probeSchedulers(ctx context.Context, keys []model.Key, again bool) {
	if again {
		for name, err := range p.schedulers {
			if err == nil {
				continue
			}
			if p.schedulers[name] = p.kernel.ProbeScheduler(ctx, name); p.schedulers[name] == nil {
				p.model.SetAllDirty()
			}
		}
	}
	var fresh map[string]bool
	for _, k := range keys {
		s, ok := p.model.Service(k)
		if !ok || !slices.Contains(state.Schedulers, s.Scheduler) {
			continue // the default's was probed at the start, and what is none of the kernel's never is
		}
		if _, known := p.schedulers[s.Scheduler]; !known {
			if fresh == nil {
				fresh = map[string]bool{}
			}
			fresh[s.Scheduler] = true
		}
	}
	if fresh != nil {
		p.probe(ctx, fresh)
	}
}

// probe asks the kernel only where no virtual server of ours is the proof. It
// goes through them once for all names, and so a few times in the process's life.
func (p *Proxier) probe(ctx context.Context, names map[string]bool) {
	for id, spec := range p.actual.All() {
		if len(names) == 0 {
			return
		}
		if id.Kind != state.VirtualServer {
			continue
		}
		if name := spec.Value().Scheduler; names[name] {
			p.schedulers[name] = nil
			delete(names, name)
		}
	}
	for name := range names {
		p.schedulers[name] = p.kernel.ProbeScheduler(ctx, name)
	}
}

// sameFacts reports whether the two have the same rendered.
func sameFacts(a, b state.Facts) bool {
	return slices.Equal(a.NodeIPs, b.NodeIPs) && a.MTU == b.MTU && a.NoIPv6 == b.NoIPv6 && a.NoVIPv6 == b.NoVIPv6 && a.NoDevice == b.NoDevice
}
