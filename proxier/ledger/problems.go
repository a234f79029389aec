package ledger

import (
	"cmp"
	"slices"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Services tells of Services what a Ledger does not know.
type Services interface {
	// Owners returns for which Service each of the objects is wanted.
	Owners(map[state.ID]bool) map[state.ID]model.Key
	// Identity returns where a Service came from, and its UID.
	Identity(model.Key) (origin, uid string)
}

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
// must not make the change of another one wait.
func (l *Ledger) Problems(of Services) []model.Problem {
	m := &l.failing.missed
	if !m.known || due(m.until) {
		*m = missed{known: true}
		m.problems = l.failing.owned(of)
	}
	return m.problems
}

func (f *failing) owned(of Services) []model.Problem {
	first := map[model.Key]*status{}
	more := map[model.Key]bool{}
	for _, s := range f.ownedFailures(of) {
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
		pr.Origin, pr.UID = of.Identity(key)
		out = append(out, pr)
	}
	slices.SortFunc(out, func(a, b model.Problem) int { return cmp.Compare(a.Object, b.Object) })
	return out
}

// ownedFailures returns those that a Service or another program is at fault
// for, and whose Service is known.
func (f *failing) ownedFailures(of Services) []*status {
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
		owners := of.Owners(lookup)
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
