package ledger

import (
	"cmp"
	"slices"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// missed is what Services miss, as it was told last.
type missed struct {
	known    bool      // nothing has changed since
	until    time.Time // then it is another, though nothing changes; zero: not
	problems []model.Problem
}

// toldAfter is how long a write fails until its Service has a problem: a retry
// mends most failures at once.
const toldAfter = 2 * time.Second

// Problems returns what Services miss because of what they ask for, or of what
// other programs have put in the way: one Problem a Service, about the first of
// its objects. What the node is at fault for is no Service's problem. It costs what
// fails, but only when that has changed: ten thousand Services with a bad endpoint
// must not make the change of another one wait. The table tells whose an object is, and
// the model what it knows of a Service.
func (l *Ledger) Problems(table *desired.Table, m *model.Model) []model.Problem {
	was := &l.failing.missed
	if !was.known || due(was.until) {
		*was = missed{known: true}
		was.problems = l.failing.owned(table, m)
	}
	return was.problems
}

func (f *failing) owned(table *desired.Table, m *model.Model) []model.Problem {
	first := map[model.Key]*status{}
	more := map[model.Key]bool{}
	for _, s := range f.ownedFailures(table) {
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
		pr.Origin, pr.UID = m.Identity(key)
		out = append(out, pr)
	}
	slices.SortFunc(out, func(a, b model.Problem) int { return cmp.Compare(a.Object, b.Object) })
	return out
}

// ownedFailures returns those that a Service or another program is at fault
// for, and whose Service is known.
func (f *failing) ownedFailures(table *desired.Table) []*status {
	var ripe, out []*status
	lookup := map[state.ID]bool{}
	for id, s := range f.of {
		if s.cause != state.CauseObject && s.cause != state.CauseForeign {
			continue
		}
		if at := s.since.Add(toldAfter); !due(at) {
			if m := &f.missed; m.until.IsZero() || at.Before(m.until) {
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
		owners := table.Owners(lookup)
		for id := range lookup {
			f.of[id].owner = owner{true, owners[id]}
		}
	}
	for _, s := range ripe {
		if s.owner.key != (model.Key{}) {
			out = append(out, s)
		}
	}
	return out
}
