package desired

import (
	"fmt"

	"kube-ipvs/proxier/state"
)

// Sound returns what makes s, the objects of a node at any moment, answer
// wrongly: a frontend published without what is behind it, a rule or entry
// without its set, a real server without its virtual server, an address that
// is not known as ours. Tests call it after every single write.
func (c *Config) Sound(s *state.State) error {
	var needs []state.ID
	for id := range s.All() {
		needs = c.Needs(needs[:0], id)
		for _, need := range needs {
			if !s.Has(need) {
				return fmt.Errorf("%s without %s", id, need)
			}
		}
	}
	return nil
}

// Needs appends what must be there while id is: it is added later and deleted
// earlier.
func (c *Config) Needs(to []state.ID, id state.ID) []state.ID {
	switch id.Kind {
	case state.RealServer:
		return append(to, id.Server())
	case state.VIP:
		if !c.NoDevice {
			to = append(to, state.LinkID())
		}
		return append(to, state.VIPEntryID(id.Addr()))
	case state.Route:
		return append(to, state.RulesID(state.FamilyOf(id.Addr())))
	case state.Rules:
		for _, n := range state.SetNames() {
			to = append(to, state.SetID(n, id.Addr()))
		}
	case state.Entry:
		family := state.FamilyOf(id.Addr())
		to = append(to, state.SetID(id.Set, family))
		if id.Set.Publishes() {
			to = append(c.servers(to, id), state.RulesID(family))
			if id.Set != state.SetNodePort && id.Set != state.SetNodePortLocal {
				to = append(to, state.EntryID(state.SetAll, id.Proto, id.AddrPort()))
			}
		}
	}
	return to
}
