package ledger

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/pace"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// failing has a status for each object whose last write failed. All other objects are as the
// loop last read or wrote them.
type failing struct {
	of      map[state.ID]*status
	leaving int                   // the failed deletions among them
	held    map[state.ID]state.ID // each object that a failed deletion needs, and the object of that; nil: to be made
	changed bool                  // summary is out of date
	summary summary
	missed  missed
}

// status describes an object whose last write failed.
type status struct {
	report.Failure // of the last try
	want           state.Want
	cause          state.Cause
	since          time.Time     // of the first failure
	asked          bool          // it has caused a read of the kernel since the last audit
	told           bool          // the log has it
	delay          time.Duration // until the next try; it grows
	next           time.Time     // the next try
	until          time.Time     // not even a full round tries it before
	owner          owner
}

// owner is the Service that an object belongs to.
type owner struct {
	known bool      // key has been looked up
	key   model.Key // zero: no single Service owns it
}

// dueNow reports whether the loop should try the write again. A write that waits for another
// one is always due: a try costs nothing, and it must not wait longer than that one.
func (s *status) dueNow() bool {
	return s.cause == state.CauseBlocked || !time.Now().Before(s.next) && !s.rests()
}

// rests reports whether the loop must not try the write yet.
func (s *status) rests() bool { return time.Now().Before(s.until) }

// keepsFromReady reports whether the node is not ready while the write fails. All Services
// need the rules, sets and routes. Other objects count only if the node is the cause: waiting
// does not change the fault of a Service or of another program. A sysctl never counts, since a
// container cannot set it, and traffic may flow without it.
func (s *status) keepsFromReady() bool {
	switch s.Op.ID.Kind {
	case state.Setting:
		return false
	case state.Link, state.Set, state.Rules, state.Route:
		return s.cause != state.CauseBlocked
	}
	return s.cause == state.CauseNode
}

// isProblem reports whether the failure is a problem of the Service that owns the object.
func (s *status) isProblem() bool {
	switch id := s.Op.ID; {
	case id.Kind == state.Entry && id.Set == state.SetVIPs: // no single Service owns it
		return false
	case id.Kind == state.VirtualServer, id.Kind == state.RealServer, id.Kind == state.Entry:
		return s.cause == state.CauseObject || s.cause == state.CauseForeign
	}
	return false
}

// before orders statuses by the time of their first failure.
func (s *status) before(o *status) int {
	return cmp.Or(s.since.Compare(o.since), s.Op.ID.Compare(o.Op.ID))
}

func (s *status) unwritten() report.Unwritten {
	return report.Unwritten{Failure: s.Failure, Cause: s.cause, Since: s.since}
}

// Fails reports whether the last write of an object failed.
func (l *Ledger) Fails(id state.ID) bool { return l.failing.of[id] != nil }

// A write that fails slowly, such as by an iptables that hangs, keeps the loop from other
// work. So it rests for restShare times as long as it took, if it took restAfter or longer.
const (
	restAfter = time.Second
	restShare = 10
)

// fail records a write of a plan that failed, or was not tried, so that it stays a difference.
// The status of an earlier failure of the object goes on.
func (l *Ledger) fail(r *report.Round, op state.Op, err error, took time.Duration, w *writing) {
	f, id := &l.failing, op.ID
	old := f.of[id]
	s := cmp.Or(w.earlier[id], old)
	if s == nil {
		s = &status{since: time.Now()}
	}
	leaves := !op.Want().Present
	if old != nil && !old.want.Present {
		if f.leaving--; !leaves {
			f.held = nil
		}
	}
	s.Failure, s.want, s.cause = report.Failure{Op: op, Err: err}, op.Want(), kernel.CauseOf(id, err)
	r.Failures = append(r.Failures, s.Failure)
	s.delay = pace.Backoff(s.delay)
	s.next = time.Now().Add(s.delay)
	if took >= restAfter {
		s.until = time.Now().Add(restShare * took)
	}
	f.of[id] = s
	f.changed, f.missed.known = true, false
	if leaves {
		if f.leaving++; f.held != nil {
			l.needed(f.held, id)
		}
	}
	// A read of the kernel costs the more, the larger the cluster is. So an object causes one,
	// and then waits for the next audit.
	if errors.Is(err, kernel.ErrStale) && !s.asked {
		s.asked, l.reading.stale = true, true
	}
}

// drop removes and returns the status of an object, or nil if it has none.
func (f *failing) drop(id state.ID) *status {
	s := f.of[id]
	if s == nil {
		return nil
	}
	delete(f.of, id)
	f.changed, f.missed.known = true, false
	if !s.want.Present {
		f.leaving--
		f.held = nil
	}
	return s
}

// take drops and returns the statuses of the objects that the loop tries again.
func (f *failing) take(wants []state.Want) map[state.ID]*status {
	if len(f.of) == 0 {
		return nil
	}
	out := map[state.ID]*status{}
	for i := range wants {
		if s := f.drop(wants[i].ID); s != nil {
			out[wants[i].ID] = s
		}
	}
	return out
}

// takeAll drops and returns all statuses.
func (f *failing) takeAll() map[state.ID]*status {
	out := f.of
	*f = failing{of: map[state.ID]*status{}, changed: true}
	return out
}

// wants reports whether the last write of the object failed, and was not a deletion.
func (f *failing) wants(id state.ID) bool {
	s := f.of[id]
	return s != nil && s.want.Present
}

// othersOf removes from drift the objects whose last write failed: there an operator has
// repaired what the loop could not, such as a sysctl. It keeps those whose write failed by drift.
func (f *failing) othersOf(drift []report.Drift) []report.Drift {
	return slices.DeleteFunc(drift, func(d report.Drift) bool {
		s := f.of[d.ID]
		return s != nil && !errors.Is(s.Err, kernel.ErrStale)
	})
}

// Retry makes all failed writes due at once.
func (l *Ledger) Retry() { l.failing.wake(true) }

// wake makes failed writes due at once: all of them, or those that wait for others.
func (f *failing) wake(all bool) {
	for _, s := range f.of {
		if all || s.cause == state.CauseBlocked {
			s.next, s.until, f.changed = time.Time{}, time.Time{}, true
		}
	}
}

// AskAgain lets each object once more cause a read of the kernel, if its write finds the
// ledger wrong.
func (l *Ledger) AskAgain() {
	for _, s := range l.failing.of {
		s.asked = false
	}
}

// due returns the desired state of the failed objects that the loop should try again, sorted.
func (l *Ledger) due() []state.Want {
	if !pace.Due(l.failing.sum(l.config.Desired).next) {
		return nil
	}
	var out []state.Want
	for _, s := range l.failing.of {
		if s.dueNow() {
			out = append(out, s.want)
		}
	}
	slices.SortFunc(out, func(a, b state.Want) int { return a.ID.Compare(b.ID) })
	return out
}

// summary is what a Round says of all failures.
type summary struct {
	failing report.Failing
	unready string    // the first failure that keeps the node from being ready; empty: none
	next    time.Time // the next try; zero: nothing fails
	longest []report.Unwritten
}

// sum returns the summary. It makes a new one only if a failure has changed.
func (f *failing) sum(c *desired.Config) summary {
	if !f.changed {
		return f.summary
	}
	var out summary
	var first, unready *status
	now := time.Now()
	for _, s := range f.of {
		out.failing.Add(s.cause)
		next := pace.Later(pace.Later(s.next, s.until), now)
		out.next = pace.Earliest(out.next, next)
		if s.cause == state.CauseNode && (first == nil || s.before(first) < 0) {
			first = s
		}
		if s.keepsFromReady() && !(c.NoDevice && s.Op.ID.Kind == state.Link) && (unready == nil || s.before(unready) < 0) {
			unready = s
		}
	}
	if first != nil {
		out.failing.Since, out.failing.First = first.since, first.String()
	}
	if unready != nil {
		out.unready = unready.String()
	}
	out.longest = f.longest()
	f.summary, f.changed = out, false
	return out
}

// mostUnwritten is the longest Round.Unwritten, since all writes may fail.
const mostUnwritten = 50

// longest returns the mostUnwritten that have failed the longest, the oldest first.
func (f *failing) longest() []report.Unwritten {
	var out []report.Unwritten
	for _, s := range f.of {
		out = keepFirst(out, s.unwritten(), mostUnwritten, func(a, b report.Unwritten) int {
			return cmp.Or(a.Since.Compare(b.Since), a.Op.ID.Compare(b.Op.ID))
		})
	}
	return out
}

// keepFirst puts a value into a sorted list, and keeps the first most of it.
func keepFirst[T any](list []T, value T, most int, compare func(a, b T) int) []T {
	at, _ := slices.BinarySearchFunc(list, value, compare)
	if at == most {
		return list
	}
	list = slices.Insert(list, at, value)
	return list[:min(len(list), most)]
}
