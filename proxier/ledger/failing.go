package ledger

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// failing has a status for each object whose last write failed. All other
// objects are as the loop has read or written them last.
type failing struct {
	of      map[state.ID]*status
	leaving int                   // of these, how many are to go
	held    map[state.ID]state.ID // what must stay for one that is leaving, and that one; nil: not made
	changed bool                  // since summary was made
	summary Summary
	missed  missed
}

// status is what is known of an object whose write fails.
type status struct {
	report.Failure // the last one
	want           state.Want
	cause          state.Cause
	since          time.Time     // of the first failure
	asked          bool          // the kernel has been read for it since the last audit
	told           bool          // the log has it
	delay          time.Duration // between tries, growing
	next           time.Time     // when it is tried again
	until          time.Time     // not to be tried before by a full round either; past: it may
	owner          owner
}

// owner is the Service that an object belongs to.
type owner struct {
	known bool      // it has been looked up
	key   model.Key // zero: no Service alone
}

// dueNow reports whether the write is to be tried again. What waits for another
// write costs nothing to try, and must not wait for longer than that one.
func (s *status) dueNow() bool {
	return s.cause == state.CauseBlocked || !time.Now().Before(s.next) && !s.rests()
}

// rests reports whether the write is not to be tried yet.
func (s *status) rests() bool { return time.Now().Before(s.until) }

// keepsFromReady reports whether the node is not ready while the write fails.
// What an object or another program is at fault for cannot be programmed, and
// no waiting changes it; without the rules, sets and routes that everything
// stands on nothing is. A sysctl is what the node's owner makes of it: a
// container cannot set it, and traffic may well flow.
func (s *status) keepsFromReady() bool {
	switch s.Op.ID.Kind {
	case state.Setting:
		return false
	case state.Link, state.Set, state.Rules, state.Route:
		return s.cause != state.CauseBlocked
	}
	return s.cause == state.CauseNode
}

// isProblem reports whether the failure is told as a problem of the Service that the
// object belongs to.
func (s *status) isProblem() bool {
	switch id := s.Op.ID; {
	case id.Kind == state.Entry && id.Set == state.SetVIPs: // it is no Service's alone
		return false
	case id.Kind == state.VirtualServer, id.Kind == state.RealServer, id.Kind == state.Entry:
		return s.cause == state.CauseObject || s.cause == state.CauseForeign
	}
	return false
}

// before orders statuses: the longest failing first.
func (s *status) before(o *status) int {
	return cmp.Or(s.since.Compare(o.since), s.Op.ID.Compare(o.Op.ID))
}

func (s *status) unwritten() report.Unwritten {
	return report.Unwritten{Failure: s.Failure, Cause: s.cause, Since: s.since}
}

// Fails reports whether the last write of an object has failed.
func (l *Ledger) Fails(id state.ID) bool { return l.failing.of[id] != nil }

// Fail keeps a write of a plan that failed, or was not tried, as a difference. It keeps
// what an earlier failure of the object has begun.
func (l *Ledger) Fail(op state.Op, err error, w *Writing) {
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
	s.delay = min(max(2*s.delay, retryFirst), retryLast)
	s.next = time.Now().Add(s.delay)
	f.of[id] = s
	f.changed, f.missed.known = true, false
	if leaves {
		if f.leaving++; f.held != nil {
			l.needed(f.held, id)
		}
	}
	// Reading the kernel costs what the cluster is large: an object asks for
	// it once, and then waits for the audit.
	if errors.Is(err, kernel.ErrStale) && !s.asked {
		s.asked, l.stale = true, true
	}
}

// A write that takes long until it fails keeps the loop from other work, as one by
// an iptables that hangs does: it rests for longer than it took.
const (
	restAfter = time.Second
	restShare = 10
)

// Took says how long the last try of a write that failed has taken.
func (l *Ledger) Took(id state.ID, took time.Duration) {
	if took >= restAfter {
		l.failing.of[id].until = time.Now().Add(restShare * took)
	}
}

// drop removes the status of an object, and returns it; nil: it had none.
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

// take drops the statuses of objects that are tried again, and returns them.
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

// takeAll drops all statuses, and returns them.
func (f *failing) takeAll() map[state.ID]*status {
	out := f.of
	*f = failing{of: map[state.ID]*status{}, changed: true}
	return out
}

// wants reports whether a failed write was to make or change the object,
// rather than to remove it.
func (f *failing) wants(id state.ID) bool {
	s := f.of[id]
	return s != nil && s.want.Present
}

// othersOf leaves out of drift the objects that the loop could not write: an operator
// has set them right instead, such as with a sysctl.
func (f *failing) othersOf(drift []report.Drift) []report.Drift {
	return slices.DeleteFunc(drift, func(d report.Drift) bool { return f.of[d.ID] != nil })
}

// Retry has all writes that have failed tried again at once.
func (l *Ledger) Retry() { l.failing.wake(true) }

// wake has writes tried again at once: all of them, or those that wait for others.
func (f *failing) wake(all bool) {
	for _, s := range f.of {
		if all || s.cause == state.CauseBlocked {
			s.next, s.until, f.changed = time.Time{}, time.Time{}, true
		}
	}
}

// AskAgain has the kernel be read anew for objects whose writes find it other
// than it was taken to be.
func (l *Ledger) AskAgain() {
	for _, s := range l.failing.of {
		s.asked = false
	}
}

// Due returns what has failed and is to be tried again, sorted.
func (l *Ledger) Due() []state.Want {
	if !due(l.Sum().Next) {
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

// Untold returns those of the failures of a round that the log is to have, each once. What
// waits for another write is not told, and what a Service or another program is at fault
// for is told as a problem of the Service, if it is one's.
func (l *Ledger) Untold(failures []report.Failure) []report.Unwritten {
	var out []report.Unwritten
	for i := range failures {
		s := l.failing.of[failures[i].Op.ID]
		if s == nil || s.told || s.cause == state.CauseBlocked || s.isProblem() {
			continue
		}
		s.told = true
		u := s.unwritten()
		u.Failure = failures[i]
		out = append(out, u)
	}
	return out
}

// Summary is what a Round says of a Ledger's failures.
type Summary struct {
	Failing report.Failing
	Unready string    // the first failure that keeps the node from being ready; empty: none does
	Next    time.Time // when something is to be tried again; zero: nothing fails
	Longest []report.Unwritten
}

// Sum returns the summary, at the cost of the ledger only when that has changed.
func (l *Ledger) Sum() Summary { return l.failing.sum(l.desired) }

func (f *failing) sum(c *desired.Config) Summary {
	if !f.changed {
		return f.summary
	}
	var out Summary
	var first, unready *status
	now := time.Now()
	for _, s := range f.of {
		out.Failing.Add(s.cause)
		next := later(later(s.next, s.until), now)
		if out.Next.IsZero() || next.Before(out.Next) {
			out.Next = next
		}
		if s.cause == state.CauseNode && (first == nil || s.before(first) < 0) {
			first = s
		}
		if s.keepsFromReady() && !(c.NoDevice && s.Op.ID.Kind == state.Link) && (unready == nil || s.before(unready) < 0) {
			unready = s
		}
	}
	if first != nil {
		out.Failing.Since, out.Failing.First = first.since, first.String()
	}
	if unready != nil {
		out.Unready = unready.String()
	}
	out.Longest = f.longest()
	f.summary, f.changed = out, false
	return out
}

// mostUnwritten is how many a Round names: when the kernel takes nothing, all fail.
const mostUnwritten = 50

// longest returns those that have failed for the longest time.
func (f *failing) longest() []report.Unwritten {
	var out []report.Unwritten
	for id, s := range f.of {
		at, _ := slices.BinarySearchFunc(out, s.since, func(u report.Unwritten, since time.Time) int {
			return cmp.Or(u.Since.Compare(since), u.Op.ID.Compare(id))
		})
		if at == mostUnwritten {
			continue
		}
		out = slices.Insert(out, at, s.unwritten())
		out = out[:min(len(out), mostUnwritten)]
	}
	return out
}
