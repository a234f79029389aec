package state

import (
	"cmp"
	"iter"
	"slices"
)

// State is the objects of a node: what is wanted, or what is there. The zero
// State is empty and may be used. There are 150,000 objects where 10,000
// Services have ten endpoints each, so that it is made to be small: objects of
// the same address, port and protocol lie together and share these.
type State struct {
	at map[place][]held
	n  int
}

// place is what objects that lie together have in common.
type place struct {
	port  uint16
	addr  address
	proto Protocol
}

// usual is how many objects lie at a place at least, mostly: an address and the
// entry that makes it ours; or a virtual server, one real server, and the two
// entries that publish it.
func (p place) usual() int {
	if p.port == 0 {
		return 2
	}
	return 4
}

// held is an object at a place.
type held struct {
	rest
	spec SpecRef
}

// rest is what of an ID the place does not say.
type rest struct {
	peerPort uint16
	peer     address
	kind     Kind
	set      SetName
	setting  SettingKey
	bits     uint8
}

// split takes an ID apart.
func (id ID) split() (place, rest) {
	return place{id.Port, id.addr, id.Proto}, rest{id.PeerPort, id.peer, id.Kind, id.Set, id.Setting, id.Bits}
}

func (p place) id(r rest) ID {
	return ID{Port: p.port, addr: p.addr, Proto: p.proto, PeerPort: r.peerPort, peer: r.peer, Kind: r.kind, Set: r.set, Setting: r.setting, Bits: r.bits}
}

func (r *rest) compare(o *rest) int {
	switch {
	case r.kind != o.kind:
		return cmp.Compare(r.kind, o.kind)
	case r.set != o.set:
		return cmp.Compare(r.set, o.set)
	case r.peer != o.peer:
		return r.peer.compare(o.peer)
	case r.peerPort != o.peerPort:
		return cmp.Compare(r.peerPort, o.peerPort)
	}
	return cmp.Or(cmp.Compare(r.setting, o.setting), cmp.Compare(r.bits, o.bits))
}

// find returns where r is in a sorted list, or where it belongs.
func find(list []held, r *rest) (int, bool) {
	from, to := 0, len(list)
	for from < to {
		at := (from + to) / 2
		switch c := list[at].compare(r); {
		case c == 0:
			return at, true
		case c < 0:
			from = at + 1
		default:
			to = at
		}
	}
	return from, false
}

// Collect returns a State of some objects, of which each is named once.
func Collect(objects iter.Seq2[ID, SpecRef]) *State {
	s := &State{}
	for id, spec := range objects {
		s.Put(id, spec)
	}
	return s
}

// Len returns how many objects there are.
func (s *State) Len() int { return s.n }

// Get returns what the object holds; ok tells whether it is there.
func (s *State) Get(id ID) (spec SpecRef, ok bool) {
	p, r := id.split()
	list := s.at[p]
	i, ok := find(list, &r)
	if !ok {
		return SpecRef{}, false
	}
	return list[i].spec, true
}

// Has reports whether the object is there.
func (s *State) Has(id ID) bool {
	p, r := id.split()
	_, ok := find(s.at[p], &r)
	return ok
}

// Put makes the object be there and hold spec. It returns what it held before;
// had tells whether it was there.
func (s *State) Put(id ID, spec SpecRef) (old SpecRef, had bool) {
	p, r := id.split()
	list := s.at[p]
	i, had := find(list, &r)
	if had {
		old, list[i].spec = list[i].spec, spec
		return old, true
	}
	switch {
	case s.at == nil:
		s.at = map[place][]held{}
	case list == nil:
		list = make([]held, 0, p.usual())
	}
	s.at[p] = slices.Insert(list, i, held{r, spec})
	s.n++
	return SpecRef{}, false
}

// Delete makes the object be not there, and returns what Put does.
func (s *State) Delete(id ID) (old SpecRef, had bool) {
	p, r := id.split()
	list := s.at[p]
	i, had := find(list, &r)
	if !had {
		return SpecRef{}, false
	}
	old = list[i].spec
	s.n--
	switch list = slices.Delete(list, i, i+1); {
	case len(list) == 0:
		delete(s.at, p)
	case len(list) < cap(list)/4:
		s.at[p] = slices.Clone(list)
	default:
		s.at[p] = list
	}
	return old, true
}

// All goes through the objects, in no order. They must not be changed meanwhile.
func (s *State) All() iter.Seq2[ID, SpecRef] {
	return func(yield func(ID, SpecRef) bool) {
		for p, list := range s.at {
			for _, h := range list {
				if !yield(p.id(h.rest), h.spec) {
					return
				}
			}
		}
	}
}

// Clone returns a copy.
func (s *State) Clone() *State {
	c := &State{at: make(map[place][]held, len(s.at)), n: s.n}
	for p, list := range s.at {
		c.at[p] = slices.Clone(list)
	}
	return c
}

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
	for _, list := range s.at {
		for i := range list {
			n[list[i].kind]++
		}
	}
	return n
}
