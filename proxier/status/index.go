package status

import (
	"cmp"
	"slices"

	"kube-ipvs/proxier/state"
)

// index is which frontends there are, as entries of sets tell it: their names
// are in comments.
type index struct {
	ports []port             // sorted by name
	gates map[state.ID]gates // of frontends that have some
}

// port is one port of a Service.
type port struct {
	name      string     // namespace/name:port
	frontends []state.ID // entries that publish it, one a frontend
}

// gates are what keeps clients away from a frontend: a bit for each of notes.
type gates uint8

// notes are what entries of some sets mean for their frontends.
var notes = []struct {
	addresses, nodePorts state.SetName
	text                 string
	wrong                bool // nobody can want this
}{
	{state.SetReject, state.SetNodePortReject, "refused: no endpoint anywhere", true},
	{state.SetDrop, 0, "dropped: internal policy Local, no endpoint on this node", true},
	{state.SetNoLocal, state.SetNodePortNoLocal, "dropped from outside: external policy Local, no endpoint on this node", false},
	{state.SetSourceFiltered, 0, "only from loadBalancerSourceRanges", false},
}

// wrong reports whether a note is of what nobody can want.
func wrong(text string) bool {
	for _, n := range notes {
		if n.text == text {
			return n.wrong
		}
	}
	return false
}

// bare returns what an entry has in common with all others for its frontend.
// Node ports have an entry for each network.
func bare(entry state.ID) state.ID {
	if entry.Set.Type() == state.HashNetPort {
		entry = entry.At(state.FamilyOf(entry.Addr()))
		entry.Bits = 0
	}
	entry.Set = 0
	return entry
}

// sorter makes an index of entries that come in any order.
type sorter struct {
	published map[state.ID]state.ID // one entry of each set and frontend
	names     map[state.ID]string
	gates     map[state.ID]gates
}

func newSorter() *sorter {
	return &sorter{map[state.ID]state.ID{}, map[state.ID]string{}, map[state.ID]gates{}}
}

// note takes an object. All but set entries are of no interest.
func (s *sorter) note(id state.ID, spec state.SpecRef) {
	if id.Kind != state.Entry {
		return
	}
	if id.Set.Comments() {
		s.names[bare(id)] = spec.Value().Text
	}
	if id.Set.Publishes() {
		at := bare(id)
		at.Set = id.Set
		if old, had := s.published[at]; !had || id.Compare(old) < 0 {
			s.published[at] = id
		}
		return
	}
	for i, n := range notes {
		if id.Set == n.addresses || id.Set == n.nodePorts {
			s.gates[bare(id)] |= 1 << i
		}
	}
}

// Unknown is the Service port of a frontend that bears no name.
const Unknown = "(unknown Service)"

func (s *sorter) index() *index {
	x := &index{gates: s.gates}
	at := make(map[string]int, len(s.published))
	for _, entry := range s.published {
		name := cmp.Or(s.names[bare(entry)], Unknown)
		i, had := at[name]
		if !had {
			i = len(x.ports)
			at[name] = i
			x.ports = append(x.ports, port{name: name})
		}
		x.ports[i].frontends = append(x.ports[i].frontends, entry)
	}
	slices.SortFunc(x.ports, func(a, b port) int { return cmp.Compare(a.name, b.name) })
	return x
}

// notes returns what an entry's frontend is told to do with clients.
func (x *index) notes(entry state.ID) []string {
	var out []string
	for i, n := range notes {
		if x.gates[bare(entry)]&(1<<i) != 0 {
			out = append(out, n.text)
		}
	}
	return out
}

// turnsAway reports whether nobody, or nobody within the cluster, can reach a
// frontend of the port for want of endpoints.
func (x *index) turnsAway(p *port) bool {
	for _, entry := range p.frontends {
		for i, n := range notes {
			if n.wrong && x.gates[bare(entry)]&(1<<i) != 0 {
				return true
			}
		}
	}
	return false
}
