package state

import "iter"

// State has the wanted or the actual objects of a node. The zero State is empty and ready
// for use.
type State struct{ Map[SpecRef] }

// Collect returns a State of objects.
func Collect(objects iter.Seq2[ID, SpecRef]) *State {
	s := &State{}
	for id, spec := range objects {
		s.Put(id, spec)
	}
	return s
}

// Clone returns a copy.
func (s *State) Clone() *State { return &State{s.clone()} }

// Counts has the number of objects of each kind.
type Counts [kinds]int

// Map returns the counts that are not 0, by the kind's name.
func (c Counts) Map() map[string]int {
	n := map[string]int{}
	for k, many := range c {
		if many != 0 {
			n[Kind(k).String()] = many
		}
	}
	return n
}

// Count returns the number of objects of each kind.
func (s *State) Count() Counts {
	var n Counts
	for id := range s.All() {
		n[id.Kind]++
	}
	return n
}
