// Package ledger keeps what the kernel is known to hold, and one status for each object
// whose last write failed, for each real server that drains, and for each plan that was
// left off. It writes nothing: the loop tells it what it has written, and asks it what has
// to wait for what, what is to be tried again, and when.
package ledger

import (
	"context"
	"fmt"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Backoff of writes that failed, and of reads.
const (
	retryFirst = 100 * time.Millisecond
	retryLast  = 30 * time.Second
)

// Ledger is what the loop knows of the kernel. Only one goroutine may use it.
type Ledger struct {
	desired      *desired.Config
	drainTimeout time.Duration
	mended       func([]report.Unwritten)

	actual  *state.State  // what the kernel holds, as read and written since; nil: never read
	digest  *state.Digest // of actual
	objects state.Counts  // in actual
	written uint64        // writes of entries that succeeded

	stale       bool      // the kernel must be read before the next comparison
	rereadAt    time.Time // when; zero: at once
	rereadDelay time.Duration

	failing failing
	plans   []*Writing // that were left off, since changes waited; the next to go on first
	goOnAt  time.Time  // when; zero: there are none, or the last round was aborted
	drains  map[state.ID]*drain
	drainAt time.Time  // when drains are looked at; zero: nothing drains
	needs   []state.ID // memory for needed
}

// New returns a Ledger of a kernel that was never read. It goes by c as that is rendered
// now; mended is called with what has failed and does not any more.
func New(c *desired.Config, drainTimeout time.Duration, mended func([]report.Unwritten)) *Ledger {
	return &Ledger{desired: c, drainTimeout: drainTimeout, mended: mended, failing: failing{of: map[state.ID]*status{}}, drains: map[state.ID]*drain{}}
}

// SetDrainTimeout sets how long the connections of a removed endpoint may go on, where
// endpoints drain.
func (l *Ledger) SetDrainTimeout(d time.Duration) { l.drainTimeout = d }

// Actual returns what the kernel is known to hold; nil: it was never read. It must not
// be changed.
func (l *Ledger) Actual() *state.State { return l.actual }

// Has reports whether the kernel is known to hold an object.
func (l *Ledger) Has(id state.ID) bool { return l.actual.Has(id) }

// Digest returns the digest of what the kernel is known to hold.
func (l *Ledger) Digest() *state.Digest { return l.digest }

// Objects counts what the kernel is known to hold.
func (l *Ledger) Objects() state.Counts { return l.objects }

// Written returns how many writes of entries have succeeded.
func (l *Ledger) Written() uint64 { return l.written }

// Note notes a write that succeeded. With a virtual server go the real servers behind it
// that drain.
func (l *Ledger) Note(op state.Op) {
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

// Stale reports whether the kernel must be read before the next comparison.
func (l *Ledger) Stale() bool { return l.stale }

// Doubt says that the kernel must be read before the next comparison.
func (l *Ledger) Doubt() { l.stale = true }

// ReadNow has the next round read the kernel.
func (l *Ledger) ReadNow() { l.stale, l.rereadAt = true, time.Time{} }

// MustRead reports whether it is time to read the kernel.
func (l *Ledger) MustRead() bool {
	return l.actual == nil || l.stale && (l.rereadAt.IsZero() || due(l.rereadAt))
}

// Aborted says that a round could not read what it must know: the kernel is to be read
// again, each time later than the one before.
func (l *Ledger) Aborted() {
	l.stale, l.goOnAt = true, time.Time{}
	l.backOff()
}

func (l *Ledger) backOff() {
	l.rereadDelay = min(max(2*l.rereadDelay, retryFirst), retryLast)
	l.rereadAt = time.Now().Add(l.rereadDelay)
}

// Schedule sets when the loop is to wake for what is left after a round.
func (l *Ledger) Schedule() {
	now := time.Now()
	if l.goOnAt = (time.Time{}); len(l.plans) > 0 {
		l.goOnAt = now
	}
	switch {
	case len(l.drains) == 0:
		l.drainAt = time.Time{}
	case l.drainAt.IsZero() || due(l.drainAt):
		l.drainAt = now.Add(drainInterval)
	}
	switch {
	case !l.stale:
		l.rereadAt, l.rereadDelay = time.Time{}, 0
	case l.rereadAt.IsZero() || due(l.rereadAt):
		l.backOff()
	}
}

// Next returns when there is something to do; zero: never.
func (l *Ledger) Next() time.Time {
	var first time.Time
	for _, at := range [...]time.Time{l.failing.sum(l.desired).Next, l.rereadAt, l.drainAt, l.goOnAt} {
		if !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// Read reads what is programmed, and returns what others have changed since it was known,
// sorted. After an error what is known stays.
func (l *Ledger) Read(ctx context.Context, k kernel.Kernel) ([]report.Drift, error) {
	read, err := k.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what is programmed: %w", err)
	}
	var drift []report.Drift
	if l.actual != nil && !l.stale {
		if drift = differences(l.actual, read); len(drift) > 0 {
			if read, err = k.Read(ctx); err != nil {
				return nil, fmt.Errorf("read what is programmed again: %w", err)
			}
			drift = l.failing.othersOf(agreed(drift, l.actual, read))
		}
	}
	l.actual, l.stale = read, false
	l.digest, l.objects = &state.Digest{}, read.Count()
	for id, spec := range read.All() {
		l.digest.Add(id, spec)
	}
	return drift, nil
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// due reports whether the moment at has come.
func due(at time.Time) bool { return !at.IsZero() && !time.Now().Before(at) }
