package ledger

import (
	"cmp"
	"slices"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/pace"
	"kube-ipvs/proxier/state"
)

// missed has the last result of Problems.
type missed struct {
	known    bool      // it is up to date
	until    time.Time // when it is out of date, even without a change; zero: never
	problems []model.Problem
}

// toldAfter is how long a write fails before its Service has a problem: most retries succeed
// at once.
const toldAfter = 2 * time.Second

// Problems returns the Services with failed writes whose cause is a value of the Service or
// another program: one Problem for each, about the first of its objects. A fault of the node
// is not a Service's problem. The table has the owner of an object, and the model the origin
// of a Service. Problems keeps its result until a failure changes, since ten thousand Services
// with a bad endpoint must not delay the change of another one.
func (l *Ledger) Problems(table *desired.Table, m *model.Model) []model.Problem {
	was := &l.failing.missed
	if !was.known || pace.Due(was.until) {
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

// ownedFailures returns the failures with a value of a Service or another program as the
// cause, and with a known Service.
func (f *failing) ownedFailures(table *desired.Table) []*status {
	var ripe, out []*status
	lookup := map[state.ID]bool{}
	for id, s := range f.of {
		if s.cause != state.CauseObject && s.cause != state.CauseForeign {
			continue
		}
		if at := s.since.Add(toldAfter); !pace.Due(at) {
			f.missed.until = pace.Earliest(f.missed.until, at)
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
