package source

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"

	"kube-ipvs/proxier/model"
)

// held is an object in force and its file.
type held struct {
	object
	path string
}

// stock has the objects of all files, and the state that the sink knows. The cost of a change depends on
// the objects of the changed file.
type stock struct {
	files  map[*file][]object // the last merged objects of each file
	givers map[ref][]giver    // of every object
	twice  map[ref]bool       // those with several givers
	told   map[ref]held
}

// giver is a file that has an object: the first of several counts.
type giver struct {
	file *file
	at   int // among its objects
}

func newStock() *stock {
	return &stock{files: map[*file][]object{}, givers: map[ref][]giver{}, twice: map[ref]bool{}, told: map[ref]held{}}
}

// update merges the files, in the order that decides between equal objects, and returns the events of
// the changes.
func (s *stock) update(files []*file) []Event {
	order := make(map[*file]int, len(files))
	touched := map[ref]bool{}
	for i, f := range files {
		order[f] = i
		if had, known := s.files[f]; !known || !identical(had, f.objects) {
			s.merge(f, f.objects, touched)
		}
	}
	for f := range s.files {
		if _, here := order[f]; !here {
			s.merge(f, nil, touched)
			delete(s.files, f)
		}
	}
	return s.settle(touched, order)
}

// identical reports whether two lists are the same list, and not only equal.
func identical(a, b []object) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// merge replaces the objects of a file, and notes the old and the new ones as touched.
func (s *stock) merge(f *file, objects []object, touched map[ref]bool) {
	for _, o := range s.files[f] {
		touched[o.ref] = true
		s.givers[o.ref] = slices.DeleteFunc(s.givers[o.ref], func(g giver) bool { return g.file == f })
	}
	for i, o := range objects {
		touched[o.ref] = true
		s.givers[o.ref] = append(s.givers[o.ref], giver{f, i})
	}
	s.files[f] = objects
}

// settle returns the events that bring the sink to the first giver of each touched object.
func (s *stock) settle(touched map[ref]bool, order map[*file]int) []Event {
	var news []giver
	var gone []held
	for r := range touched {
		givers := s.givers[r]
		slices.SortFunc(givers, func(a, b giver) int { return a.compare(b, order) })
		delete(s.twice, r)
		if len(givers) == 0 {
			delete(s.givers, r)
			gone = append(gone, s.told[r])
			continue
		}
		if len(givers) > 1 {
			s.twice[r] = true
		}
		// Another file is a change even for an equal object, since messages name the file.
		now := givers[0].held()
		if old, ok := s.told[r]; !ok || old.path != now.path || !same(old.event, now.event) {
			s.told[r] = now
			news = append(news, givers[0])
		}
	}
	var events []Event
	slices.SortFunc(news, func(a, b giver) int { return a.compare(b, order) })
	for _, g := range news {
		events = append(events, g.held().event)
	}
	slices.SortFunc(gone, func(a, b held) int { return a.ref.compare(b.ref) })
	for _, old := range gone {
		delete(s.told, old.ref)
		old.event.Deleted = true
		events = append(events, old.event)
	}
	return events
}

// doubles returns the problems about objects that do not count, in the order of the files.
func (s *stock) doubles(files []*file) (out []model.Problem) {
	if len(s.twice) == 0 {
		return nil
	}
	order := make(map[*file]int, len(files))
	for i, f := range files {
		order[f] = i
	}
	var idle []giver
	for r := range s.twice {
		idle = append(idle, s.givers[r][1:]...)
	}
	slices.SortFunc(idle, func(a, b giver) int { return a.compare(b, order) })
	for _, g := range idle {
		o := g.held()
		out = append(out, model.Problem{Origin: o.event.Origin, Object: o.ref.String(),
			Message: fmt.Sprintf("%s defines it too, and counts; this one is left out", s.givers[o.ref][0].held().event.Origin)})
	}
	return out
}

func (g giver) compare(o giver, order map[*file]int) int {
	return cmp.Or(cmp.Compare(order[g.file], order[o.file]), cmp.Compare(g.at, o.at))
}

func (g giver) held() held { return held{g.file.objects[g.at], g.file.path} }

// same reports whether two events have equal objects.
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
