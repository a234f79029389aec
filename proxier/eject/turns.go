package eject

import (
	"context"
	"sync"

	"kube-ipvs/proxier/model"
)

// slots bounds the probes that are under way, and gives a slot that gets free to those who wait,
// in turn.
type slots struct {
	mu    sync.Mutex
	free  int
	queue turns[chan struct{}]
}

// take waits for a slot. It returns false if ctx ends first.
func (s *slots) take(ctx context.Context, of model.Key) bool {
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return true
	}
	given := make(chan struct{})
	s.queue.add(given, of.Namespace, of.Name)
	s.mu.Unlock()
	select {
	case <-given:
		return true
	case <-ctx.Done(): // the process ends, and the slot with it
		return false
	}
}

// give gives a slot back.
func (s *slots) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next, waits := s.queue.next(); waits {
		close(next)
		return
	}
	s.free++
}

// turns has what waits, by names: of a namespace, and of a Service in it. Each name has its turn,
// so that a tenant with many Services or endpoints does not delay another.
type turns[T any] struct {
	name  string
	names map[string]*turns[T] // that have something
	order []*turns[T]          // names, the one whose turn is next first
	items []T                  // without names: the first to come first
}

// add adds an item under names.
func (t *turns[T]) add(item T, names ...string) {
	if len(names) == 0 {
		t.items = append(t.items, item)
		return
	}
	under := t.names[names[0]]
	if under == nil {
		if t.names == nil {
			t.names = map[string]*turns[T]{}
		}
		under = &turns[T]{name: names[0]}
		t.names[under.name], t.order = under, append(t.order, under)
	}
	under.add(item, names[1:]...)
}

// next removes the item whose turn it is, and returns it; false: there is none.
func (t *turns[T]) next() (item T, ok bool) {
	switch {
	case len(t.items) > 0:
		item, t.items = t.items[0], t.items[1:]
		return item, true
	case len(t.order) == 0:
		return item, false
	}
	first := t.order[0]
	t.order = t.order[1:]
	if item, ok = first.next(); len(first.items)+len(first.order) > 0 {
		t.order = append(t.order, first)
	} else {
		delete(t.names, first.name)
	}
	return item, ok
}
