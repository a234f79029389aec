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

	actual  *state.State  // the objects in the kernel, as read and written since; nil: never read
	digest  *state.Digest // of actual
	objects state.Counts  // in actual
	written uint64        // writes of entries that succeeded

	stale       bool      // the kernel must be read before the next comparison
	unread      error     // the last read that failed, until one succeeds
	doubted     bool      // the next Read cannot tell drift
	rereadAt    time.Time // when to read it; zero: at once
	rereadDelay time.Duration

	failing failing
	plans   []*writing // that gave way to changes; the next one comes first
	goOnAt  time.Time  // when to continue plans; zero: there are none, or the last round was aborted
	drains  map[state.ID]*drain
	drainAt time.Time  // when to count the connections of drains; zero: there are none
	needs   []state.ID // a buffer for Config.Needs
}

// New returns a Ledger of a kernel that was never read.
func New(c Config) *Ledger {
	return &Ledger{config: c, failing: failing{of: map[state.ID]*status{}}, drains: map[state.ID]*drain{}}
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
func (l *Ledger) Objects() state.Counts { return l.objects }

// Belief returns what checks compare the kernel with.
func (l *Ledger) Belief() checks.Belief {
	return checks.Belief{Digest: l.digest, Entries: l.objects[state.Entry], Written: l.written}
}

// note notes a write that succeeded. The deletion of a virtual server includes that of its
// draining real servers.
func (l *Ledger) note(op state.Op) {
	if old, had := l.actual.Apply(op); had {
		l.digest.Remove(op.ID, old)
		l.objects[op.ID.Kind]--
	}
	if op.ID.Kind == state.Entry {
		l.written++
	}
	if op.Verb != state.Delete {
		l.digest.Add(op.ID, op.Spec)
		l.objects[op.ID.Kind]++
	} else if len(l.drains) > 0 {
		l.noteDrains(op.ID)
	}
}

// Stale reports whether the loop must read the kernel before the next comparison.
func (l *Ledger) Stale() bool { return l.stale }

// Doubt says that the desired rules or the facts of the node have changed, so that differences
// that the next Read finds need not be drift.
func (l *Ledger) Doubt() { l.doubted = true }

// ReadNow makes the next round read the kernel.
func (l *Ledger) ReadNow() { l.stale, l.rereadAt = true, time.Time{} }

// MustRead reports whether the round has to read the kernel now.
func (l *Ledger) MustRead() bool {
	return l.actual == nil || l.stale && (l.rereadAt.IsZero() || pace.Due(l.rereadAt))
}

// Aborted says that a read failed. The loop reads the kernel again, with growing delay.
func (l *Ledger) Aborted(err error) {
	l.stale, l.unread, l.goOnAt = true, err, time.Time{}
	l.backOff()
}

func (l *Ledger) backOff() {
	l.rereadDelay = pace.Backoff(l.rereadDelay)
	l.rereadAt = time.Now().Add(l.rereadDelay)
}

// schedule sets the timers of plans, drains and reads at the end of a round.
func (l *Ledger) schedule() {
	now := time.Now()
	if l.goOnAt = (time.Time{}); len(l.plans) > 0 {
		l.goOnAt = now
	}
	switch {
	case len(l.drains) == 0:
		l.drainAt = time.Time{}
	case l.drainAt.IsZero() || pace.Due(l.drainAt):
		l.drainAt = now.Add(drainInterval)
	}
	switch {
	case !l.stale:
		l.rereadAt, l.rereadDelay = time.Time{}, 0
	case l.rereadAt.IsZero() || pace.Due(l.rereadAt):
		l.backOff()
	}
}

// Next returns when the loop has to wake for failed writes, plans, drains or a read; zero:
// never.
func (l *Ledger) Next() time.Time {
	return pace.Earliest(l.failing.sum(l.config.Desired).next, l.rereadAt, l.drainAt, l.goOnAt)
}

// Read reads the kernel, and returns the changes by other programs since the last Read,
// sorted. After an error the ledger stays as it was.
func (l *Ledger) Read(ctx context.Context) ([]report.Drift, error) {
	read, err := l.config.Kernel.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the programmed objects: %w", err)
	}
	var drift []report.Drift
	if l.actual != nil && !l.doubted {
		if drift = differences(l.actual, read); len(drift) > 0 {
			if read, err = l.config.Kernel.Read(ctx); err != nil {
				return nil, fmt.Errorf("read the programmed objects again: %w", err)
			}
			drift = l.failing.othersOf(agreed(drift, l.actual, read))
		}
	}
	l.actual, l.stale, l.unread, l.doubted = read, false, nil, false
	l.digest, l.objects = &state.Digest{}, read.Count()
	for id, spec := range read.All() {
		l.digest.Add(id, spec)
	}
	return drift, nil
}
