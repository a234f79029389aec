package state

import "iter"

// State is the objects of a node: what is wanted, or what is there. The zero
// State is empty and may be used.
type State struct{ Map[SpecRef] }

// Collect returns a State of some objects, of which each is named once.
func Collect(objects iter.Seq2[ID, SpecRef]) *State {
	s := &State{}
	for id, spec := range objects {
		s.Put(id, spec)
	}
	return s
}

// Clone returns a copy.
func (s *State) Clone() *State { return &State{s.clone()} }

// Counts are how many objects of each kind there are.
type Counts [kinds]int

// Map returns those that are not 0, by the kind's name.
func (c Counts) Map() map[string]int {
	n := map[string]int{}
	for k, many := range c {
		if many != 0 {
			n[Kind(k).String()] = many
		}
	}
	return n
}

// Count returns how many objects of each kind there are.
func (s *State) Count() Counts {
	var n Counts
	for id := range s.All() {
		n[id.Kind]++
	}
	return n
}
