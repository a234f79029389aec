package source

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"

	"kube-ipvs/proxier/model"
)

// held is an object in force and the file that gave it.
type held struct {
	object
	path string
}

// merge puts together what all files hold, in their order: the first of
// several objects of the same name counts.
func merge(files []*file) (all []held, problems []model.Problem) {
	at := make(map[ref]int)
	for _, f := range files {
		for _, o := range f.objects {
			i, twice := at[o.ref]
			if !twice {
				at[o.ref] = len(all)
				all = append(all, held{o, f.path})
				continue
			}
			problems = append(problems, model.Problem{Origin: o.event.Origin, Object: o.ref.String(),
				Message: fmt.Sprintf("already given by %s, which counts; this one is left out", all[i].event.Origin)})
		}
	}
	return all, problems
}

// stock is what the sink has been told.
type stock map[ref]held

// update makes the stock hold what is wanted and returns the events for that.
func (s stock) update(want []held) (events []Event) {
	here := make(map[ref]bool, len(want))
	for _, w := range want {
		here[w.ref] = true
		// Another file is news even for an equal object: messages name it.
		if old, ok := s[w.ref]; ok && old.path == w.path && same(old.event, w.event) {
			continue
		}
		s[w.ref] = w
		events = append(events, w.event)
	}
	var gone []held
	for r, old := range s {
		if !here[r] {
			gone = append(gone, old)
		}
	}
	slices.SortFunc(gone, func(a, b held) int {
		return cmp.Or(cmp.Compare(a.ref.kind, b.ref.kind), cmp.Compare(a.ref.namespace, b.ref.namespace), cmp.Compare(a.ref.name, b.ref.name))
	})
	for _, old := range gone {
		delete(s, old.ref)
		old.event.Deleted = true
		events = append(events, old.event)
	}
	return events
}

// same reports whether two events give the same object.
func same(a, b Event) bool {
	switch {
	case a.Service != nil && b.Service != nil:
		return a.Service == b.Service || equality.Semantic.DeepEqual(a.Service, b.Service)
	case a.Slice != nil && b.Slice != nil:
		return a.Slice == b.Slice || equality.Semantic.DeepEqual(a.Slice, b.Slice)
	case a.Node != nil && b.Node != nil:
		return a.Node == b.Node || equality.Semantic.DeepEqual(a.Node, b.Node)
	}
	return false
}
