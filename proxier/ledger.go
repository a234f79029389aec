package proxier

import (
	"cmp"
	"slices"
	"time"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// ledger has a status for each object whose last write failed. All other
// objects are as the loop has read or written them last.
type ledger struct {
	of      map[state.ID]*status
	leaving int  // of these, how many are to go
	without bool // nothing needs the device: see desired.Config.NoDevice
	changed bool // since summary was made
	summary summary
	missed  missed
}

// missed is what Services miss, as it was told last.
type missed struct {
	known    bool      // nothing has changed since
	until    time.Time // then it is another, though nothing changes; zero: not
	problems []model.Problem
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
	until          time.Time     // not to be tried before by a full round either; zero: it may
	owner          owner
}

// dueNow reports whether the write is to be tried again. What waits for another
// write costs nothing to try, and must not wait for longer than that one.
func (s *status) dueNow() bool {
	return s.cause == state.CauseBlocked || !time.Now().Before(s.next) && !s.rests()
}

// A write that takes long until it fails keeps the loop from other work, as one by
// an iptables that hangs does: it rests for longer than it took.
const (
	restAfter = time.Second
	restShare = 10
)

// rest says how long the last try took.
func (s *status) rest(took time.Duration) {
	if s.until = (time.Time{}); took >= restAfter {
		s.until = time.Now().Add(restShare * took)
	}
}

// rests reports whether the write is not to be tried yet.
func (s *status) rests() bool { return time.Now().Before(s.until) }

// owner is the Service that an object belongs to.
type owner struct {
	known bool      // it has been looked up
	key   model.Key // zero: no Service alone
}

// fail notes a failure, and keeps what an earlier one of the object has begun.
func (l *ledger) fail(f report.Failure, earlier *status) *status {
	s := cmp.Or(earlier, l.of[f.Op.ID])
	l.drop(f.Op.ID)
	if s == nil {
		s = &status{since: time.Now()}
	}
	s.Failure, s.want, s.cause = f, f.Op.Want(), kernel.CauseOf(f.Op.ID, f.Err)
	s.delay = min(max(2*s.delay, retryFirst), retryLast)
	s.next = time.Now().Add(s.delay)
	l.of[f.Op.ID] = s
	l.changed, l.missed.known = true, false
	if !s.want.Present {
		l.leaving++
	}
	return s
}

// drop removes the status of an object, and returns it; nil: it had none.
func (l *ledger) drop(id state.ID) *status {
	s := l.of[id]
	if s == nil {
		return nil
	}
	delete(l.of, id)
	l.changed, l.missed.known = true, false
	if !s.want.Present {
		l.leaving--
	}
	return s
}

// take drops the statuses of objects that are tried again, and returns them.
func (l *ledger) take(wants []state.Want) map[state.ID]*status {
	if len(l.of) == 0 {
		return nil
	}
	out := map[state.ID]*status{}
	for i := range wants {
		if s := l.drop(wants[i].ID); s != nil {
			out[wants[i].ID] = s
		}
	}
	return out
}

// takeAll drops all statuses, and returns them.
func (l *ledger) takeAll() map[state.ID]*status {
	out := l.of
	*l = ledger{of: map[state.ID]*status{}, without: l.without, changed: true}
	return out
}

// wants reports whether a failed write was to make or change the object,
// rather than to remove it.
func (l *ledger) wants(id state.ID) bool {
	s := l.of[id]
	return s != nil && s.want.Present
}

// wake has writes tried again at once: all of them, or those that wait for others.
func (l *ledger) wake(all bool) {
	for _, s := range l.of {
		if all || s.cause == state.CauseBlocked {
			s.next, s.until, l.changed = time.Time{}, time.Time{}, true
		}
	}
}

// askAgain has the kernel be read anew for objects whose writes find it other
// than it was taken to be.
func (l *ledger) askAgain() {
	for _, s := range l.of {
		s.asked = false
	}
}

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

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// before orders statuses: the longest failing first.
func (s *status) before(o *status) int {
	return cmp.Or(s.since.Compare(o.since), s.Op.ID.Compare(o.Op.ID))
}

// summary is what a Round says of a ledger.
type summary struct {
	failing report.Failing
	unready *status   // the first that keeps the node from being ready; nil: none
	next    time.Time // when something is to be tried again; zero: nothing fails
	longest []report.Unwritten
}

// sum returns the summary, at the cost of the ledger only when that has changed.
func (l *ledger) sum() summary {
	if !l.changed {
		return l.summary
	}
	var out summary
	var first *status
	now := time.Now()
	for _, s := range l.of {
		out.failing.Add(s.cause)
		next := later(later(s.next, s.until), now)
		if out.next.IsZero() || next.Before(out.next) {
			out.next = next
		}
		if s.cause == state.CauseNode && (first == nil || s.before(first) < 0) {
			first = s
		}
		if s.keepsFromReady() && !(l.without && s.Op.ID.Kind == state.Link) && (out.unready == nil || s.before(out.unready) < 0) {
			out.unready = s
		}
	}
	if first != nil {
		out.failing.Since, out.failing.First = first.since, first.String()
	}
	out.longest = l.longest()
	l.summary, l.changed = out, false
	return out
}

// mostUnwritten is how many a Round names: when the kernel takes nothing, all fail.
const mostUnwritten = 50

// longest returns those that have failed for the longest time.
func (l *ledger) longest() []report.Unwritten {
	var out []report.Unwritten
	for id, s := range l.of {
		at, _ := slices.BinarySearchFunc(out, s.since, func(u report.Unwritten, since time.Time) int {
			return cmp.Or(u.Since.Compare(since), u.Op.ID.Compare(id))
		})
		if at == mostUnwritten {
			continue
		}
		out = slices.Insert(out, at, report.Unwritten{Failure: s.Failure, Cause: s.cause, Since: s.since})
		out = out[:min(len(out), mostUnwritten)]
	}
	return out
}

// toldAfter is how long a write fails until its Service has a problem: a retry
// mends most failures at once.
const toldAfter = 2 * time.Second

// unwritten returns what Services miss because of what they ask for, or of what
// other programs have put in the way: one Problem a Service, about the first of
// its objects. What the node is at fault for is no Service's problem. It costs what
// fails, but only when that has changed: ten thousand Services with a bad endpoint
// must not make the change of another one wait.
func (p *Proxier) unwritten() []model.Problem {
	m := &p.ledger.missed
	if !m.known || due(m.until) {
		*m = missed{known: true}
		m.problems = p.owned()
	}
	return m.problems
}

func (p *Proxier) owned() []model.Problem {
	first := map[model.Key]*status{}
	more := map[model.Key]bool{}
	for _, s := range p.ownedFailures() {
		key := s.owner.key
		old := first[key]
		more[key] = more[key] || old != nil
		if old == nil || s.Op.ID.Compare(old.Op.ID) < 0 {
			first[key] = s
		}
	}
	out := make([]model.Problem, 0, len(first))
	for key, s := range first {
		pr := model.Problem{Object: "Service " + key.String(), Message: s.String() + "; it is tried again"}
		if more[key] {
			pr.Message += ", and so are others"
		}
		pr.Origin, pr.UID = p.model.Identity(key)
		out = append(out, pr)
	}
	slices.SortFunc(out, func(a, b model.Problem) int { return cmp.Compare(a.Object, b.Object) })
	return out
}

// ownedFailures returns those that a Service or another program is at fault
// for, and whose Service is known.
func (p *Proxier) ownedFailures() []*status {
	var ripe, out []*status
	lookup := map[state.ID]bool{}
	for id, s := range p.ledger.of {
		if s.cause != state.CauseObject && s.cause != state.CauseForeign {
			continue
		}
		if at := s.since.Add(toldAfter); !due(at) {
			if m := &p.ledger.missed; m.until.IsZero() || at.Before(m.until) {
				m.until = at
			}
			continue
		}
		ripe = append(ripe, s)
		if !s.owner.known {
			lookup[id] = true
		}
	}
	if len(lookup) > 0 {
		owners := p.table.Owners(lookup)
		for id := range lookup {
			p.ledger.of[id].owner = owner{true, owners[id]}
		}
	}
	for _, s := range ripe {
		if s.owner.key != (model.Key{}) {
			out = append(out, s)
		}
	}
	return out
}
