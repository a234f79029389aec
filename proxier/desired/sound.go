package desired

import (
	"fmt"

	"kube-ipvs/proxier/state"
)

// Sound returns what makes s, the objects of a node at any moment, answer
// wrongly: a frontend published without what is behind it, a rule or entry
// without its set, a real server without its virtual server, an address that
// is not known as ours. Tests call it after every single write.
func (c Config) Sound(s *state.State) error {
	for id := range s.All() {
		for _, need := range c.Needs(id) {
			if !s.Has(need) {
				return fmt.Errorf("%s without %s", id, need)
			}
		}
	}
	return nil
}

// Needs returns what must be there while id is: it is added later and deleted
// earlier.
func (c Config) Needs(id state.ID) []state.ID {
	family := state.FamilyOf(id.Addr())
	switch id.Kind {
	case state.RealServer:
		return []state.ID{id.Server()}
	case state.VIP:
		return []state.ID{state.LinkID(), state.VIPEntryID(id.Addr())}
	case state.Route:
		return []state.ID{state.RulesID(family)}
	case state.Rules:
		var sets []state.ID
		for _, n := range state.SetNames() {
			sets = append(sets, state.SetID(n, family))
		}
		return sets
	case state.Entry:
		out := []state.ID{state.SetID(id.Set, family)}
		if id.Set.Publishes() {
			out = append(out, c.Servers(id)...)
			out = append(out, state.RulesID(family))
			if id.Set != state.SetNodePort && id.Set != state.SetNodePortLocal {
				out = append(out, state.EntryID(state.SetAll, id.Proto, id.AddrPort()))
			}
		}
		return out
	}
	return nil
}
