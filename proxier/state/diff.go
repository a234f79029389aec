package state

import (
	"iter"
	"slices"
)

// Want is the wanted state of one object.
type Want struct {
	ID      ID
	Spec    SpecRef
	Present bool // false: the object must not exist; Spec is unused
}

// Drain tells Diff which removed real servers drain.
type Drain interface {
	// Draining reports whether a real server that is not wanted must stay with weight 0
	// for now.
	Draining(real ID) bool
}

// Diff returns the writes that bring the objects of wants, each named once, from actual to
// their wanted state; it leaves all others alone. A real server that is not wanted gets
// weight 0 while it drains, unless its virtual server goes too; if it is wanted again it
// gets its weight back. A virtual server without FlagOurs was taken over from another
// program: it and its address stay while a real server behind it drains, since no rule of
// kube-ipvs would carry on its connections. Diff leaves out Flows, which the kernel does
// not hold, and never deletes settings. The writes have the order of wants; NewPlan
// orders them.
func Diff(wants []Want, actual *State, drain Drain) []Op {
	var ops []Op
	leaving := leavingServers(wants)
	busy := busyServers(wants, leaving, actual, drain)
	for i := range wants {
		w := &wants[i]
		have, there := actual.Get(w.ID)
		if w.Present && there && have.Equal(w.Spec) || w.ID.Kind == Flow {
			continue // in its wanted state, like most
		}
		if ops == nil {
			ops = make([]Op, 0, len(wants)-i)
		}
		switch {
		case w.Present && !there:
			ops = append(ops, Op{Verb: Add, ID: w.ID, Spec: w.Spec, Old: None})
		case w.Present:
			ops = append(ops, Op{Verb: Change, ID: w.ID, Spec: w.Spec, Old: have})
		case !there || w.ID.Kind == Setting:
			// Settings stay.
		case busy[w.ID]:
			// A real server behind it drains.
		case w.ID.Kind == RealServer && !leaving[w.ID.Server()] && drain.Draining(w.ID):
			if have.Value().Weight != 0 {
				ops = append(ops, Op{Verb: Change, Drains: true, ID: w.ID, Spec: Weight(0), Old: have})
			}
		default:
			ops = append(ops, Op{Verb: Delete, ID: w.ID, Spec: None, Old: have})
		}
	}
	return ops
}

func leavingServers(wants []Want) map[ID]bool {
	var leaving map[ID]bool
	for _, w := range wants {
		if !w.Present && w.ID.Kind == VirtualServer {
			if leaving == nil {
				leaving = map[ID]bool{}
			}
			leaving[w.ID] = true
		}
	}
	return leaving
}

// busyServers returns the leaving virtual servers that were taken over and have draining
// real servers, with their addresses, and removes them from leaving.
func busyServers(wants []Want, leaving map[ID]bool, actual *State, drain Drain) map[ID]bool {
	var adopted map[ID]bool
	for id := range leaving {
		if actual.Adopted(id) {
			if adopted == nil {
				adopted = map[ID]bool{}
			}
			adopted[id] = true
		}
	}
	if len(adopted) == 0 {
		return nil
	}
	busy := map[ID]bool{}
	for _, w := range wants {
		if w.ID.Kind != RealServer || w.Present || !actual.Has(w.ID) || !adopted[w.ID.Server()] || !drain.Draining(w.ID) {
			continue
		}
		busy[w.ID.Server()], busy[VIPID(w.ID.Addr())] = true, true
		delete(leaving, w.ID.Server())
	}
	return busy
}

// DiffAll is Diff for all n wanted objects, each named once. Every other object of actual
// must go: others has them, sorted.
func DiffAll(wants iter.Seq2[ID, SpecRef], n int, actual *State) (ops []Op, others []Want) {
	wanted := make([]bool, actual.Len()) // by number in actual
	seen := 0
	for id, spec := range wants {
		if id.Kind == Flow {
			continue
		}
		number, is := actual.number(id)
		have := None
		if is {
			wanted[number] = true
			have = *actual.value(number)
		}
		if seen++; is && have.Equal(spec) {
			continue
		}
		if ops == nil {
			ops = make([]Op, 0, n-seen+1)
		}
		verb := Add
		if is {
			verb = Change
		}
		ops = append(ops, Op{Verb: verb, ID: id, Spec: spec, Old: have})
	}
	for number, is := range wanted {
		if !is {
			others = append(others, Want{ID: *actual.id(uint32(number))})
		}
	}
	slices.SortFunc(others, func(a, b Want) int { return a.ID.Compare(b.ID) })
	return ops, others
}

// Adopted reports whether s has the virtual server, and another program made it.
func (s *State) Adopted(server ID) bool {
	spec, ok := s.Get(server)
	return ok && server.Kind == VirtualServer && spec.Value().Flags&FlagOurs == 0
}

var weights = [...]SpecRef{Intern(Spec{Weight: 0}), Intern(Spec{Weight: 1})}

// Serving returns the Spec of a real server with a weight that takes at most as many
// connections; 0: any number. With a limit all weights are doubled: a weight over 1 tells
// readers of the table in /proc, which has no limits, to ask for them.
func Serving(weight, connections uint32) SpecRef {
	if connections == 0 || weight == 0 {
		return Weight(weight)
	}
	return Intern(Spec{Weight: 2 * weight, Upper: connections})
}

// ServingWeight returns the weight that Serving was given.
func (s Spec) ServingWeight() uint32 {
	if s.Upper != 0 {
		return s.Weight / 2
	}
	return s.Weight
}

// Weight returns the Spec of a real server with a weight; 0: it drains.
func Weight(w uint32) SpecRef {
	if int(w) < len(weights) {
		return weights[w]
	}
	return Intern(Spec{Weight: w})
}

// Apply records in s that op has happened. It returns the Spec from before and whether
// the object existed.
func (s *State) Apply(op Op) (old SpecRef, had bool) {
	if op.Verb == Delete {
		return s.Delete(op.ID)
	}
	return s.Put(op.ID, op.Spec)
}
