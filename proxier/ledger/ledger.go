// Package ledger is the loop's copy of the kernel, which it reads and writes through: it keeps
// the known objects of the kernel, and a status for each object whose last write failed, for each
// draining real server, and for each plan that was left off. So it knows which writes have to
// wait, and which to try again and when.
package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"kube-ipvs/proxier/checks"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/pace"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
	"kube-ipvs/proxier/sweeper"
)

// Config configures a Ledger. All fields are required.
type Config struct {
	Kernel       kernel.Kernel
	Sweeper      *sweeper.Sweeper // learns of all plans and writes
	Desired      *desired.Config  // the current configuration of rendering; it may change
	DrainTimeout time.Duration    // how long the connections of a removed real server may go on
	Turn         Turn
	Between      func() bool // the Ledger calls it after each stage of a plan; it reports whether changes wait
	Log          *slog.Logger
}

// Ledger has the loop's knowledge of the kernel. Only one goroutine may use it.
type Ledger struct {
	config   Config
	complete bool               // the source has delivered everything: what no Service needs may go
	ready    bool               // all objects of the start have been programmed
	mended   []report.Unwritten // failed writes that have succeeded since the last Report

	actual  *state.State // the objects in the kernel, as read and written since; nil: never read
	sums    sums
	reading reading
	failing failing
	plans   []*writing // that gave way to changes; the next one comes first
	goOnAt  time.Time  // when to continue plans; zero: there are none, or the last round was aborted
	drains  drains
	needs   []state.ID // a buffer for Config.Needs
}

// sums are sums over the objects in the kernel.
type sums struct {
	digest  *state.Digest
	objects state.Counts
	written uint64 // writes of entries that succeeded
}

// reading is the next read of the kernel.
type reading struct {
	stale   bool      // it must come before the next comparison
	doubted bool      // it cannot tell drift
	err     error     // of the last read that failed, until one succeeds
	at      time.Time // when it comes; zero: at once
	delay   time.Duration
}

func (r *reading) due() bool { return r.stale && (r.at.IsZero() || pace.Due(r.at)) }

func (r *reading) backOff() {
	r.delay = pace.Backoff(r.delay)
	r.at = time.Now().Add(r.delay)
}

// New returns a Ledger of a kernel that was never read.
func New(c Config) *Ledger {
	return &Ledger{config: c, failing: failing{of: map[state.ID]*status{}}, drains: drains{of: map[state.ID]*drain{}}}
}

// SetDrainTimeout sets how long the connections of a draining real server may go on.
func (l *Ledger) SetDrainTimeout(d time.Duration) { l.config.DrainTimeout = d }

// Complete says that the source has delivered everything, so that the next round reads the
// kernel, and deletes what no Service needs. Idempotent.
func (l *Ledger) Complete() {
	if !l.complete {
		l.complete = true
		l.ReadNow()
	}
}

// Actual returns the known objects of the kernel, or nil before the first Read. Callers must
// not change it.
func (l *Ledger) Actual() *state.State { return l.actual }

// Has reports whether an object is known to be in the kernel.
func (l *Ledger) Has(id state.ID) bool { return l.actual.Has(id) }

// Objects counts the known objects by kind.
func (l *Ledger) Objects() state.Counts { return l.sums.objects }

// Belief returns what checks compare the kernel with.
func (l *Ledger) Belief() checks.Belief {
	return checks.Belief{Digest: l.sums.digest, Entries: l.sums.objects[state.Entry], Written: l.sums.written}
}

// note notes a write that succeeded. The deletion of a virtual server includes that of its
// draining real servers.
func (l *Ledger) note(op state.Op) {
	s := &l.sums
	if old, had := l.actual.Apply(op); had {
		s.digest.Remove(op.ID, old)
		s.objects[op.ID.Kind]--
	}
	if op.ID.Kind == state.Entry {
		s.written++
	}
	if op.Verb != state.Delete {
		s.digest.Add(op.ID, op.Spec)
		s.objects[op.ID.Kind]++
	} else if len(l.drains.of) > 0 {
		l.noteDrains(op.ID)
	}
}

// Stale reports whether the loop must read the kernel before the next comparison.
func (l *Ledger) Stale() bool { return l.reading.stale }

// Doubt says that the desired rules or the facts of the node have changed, so that differences
// that the next Read finds need not be drift.
func (l *Ledger) Doubt() { l.reading.doubted = true }

// ReadNow makes the next round read the kernel.
func (l *Ledger) ReadNow() { l.reading.stale, l.reading.at = true, time.Time{} }

// MustRead reports whether the round has to read the kernel now.
func (l *Ledger) MustRead() bool { return l.actual == nil || l.reading.due() }

// Aborted says that a read failed. The loop reads the kernel again, with growing delay.
func (l *Ledger) Aborted(err error) {
	l.reading.stale, l.reading.err, l.goOnAt = true, err, time.Time{}
	l.reading.backOff()
}

// schedule sets the timers of plans, drains and reads at the end of a round.
func (l *Ledger) schedule() {
	now := time.Now()
	if l.goOnAt = (time.Time{}); len(l.plans) > 0 {
		l.goOnAt = now
	}
	switch {
	case len(l.drains.of) == 0:
		l.drains.next = time.Time{}
	case l.drains.next.IsZero() || pace.Due(l.drains.next):
		l.drains.next = now.Add(drainInterval)
	}
	switch r := &l.reading; {
	case !r.stale:
		r.at, r.delay = time.Time{}, 0
	case r.due():
		r.backOff()
	}
}

// Next returns when the loop has to wake for failed writes, plans, drains or a read; zero:
// never.
func (l *Ledger) Next() time.Time {
	return pace.Earliest(l.failing.sum(l.config.Desired).next, l.reading.at, l.drains.next, l.goOnAt)
}

// Read reads the kernel, and returns the changes by other programs since the last Read,
// sorted. After an error the ledger stays as it was.
func (l *Ledger) Read(ctx context.Context) ([]report.Drift, error) {
	read, err := l.config.Kernel.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the programmed objects: %w", err)
	}
	var drift []report.Drift
	if l.actual != nil && !l.reading.doubted {
		if drift = differences(l.actual, read); len(drift) > 0 {
			if read, err = l.config.Kernel.Read(ctx); err != nil {
				return nil, fmt.Errorf("read the programmed objects again: %w", err)
			}
			drift = l.failing.othersOf(agreed(drift, l.actual, read))
		}
	}
	l.actual = read
	l.reading.stale, l.reading.doubted, l.reading.err = false, false, nil
	l.sums.digest, l.sums.objects = &state.Digest{}, read.Count()
	for id, spec := range read.All() {
		l.sums.digest.Add(id, spec)
	}
	return drift, nil
}
