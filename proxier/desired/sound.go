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

// Needs appends what must be there while id is: what the kernel refuses it without, see
// state.Needs, and what makes it answer rightly. It is added later and deleted earlier.
func (c *Config) Needs(to []state.ID, id state.ID) []state.ID {
	if id.Kind != state.VIP || !c.NoDevice {
		to = state.Needs(to, id)
	}
	family := state.FamilyOf(id.Addr())
	switch {
	case id.Kind == state.VIP:
		to = append(to, state.VIPEntryID(id.Addr()))
	case id.Kind == state.Route:
		to = append(to, state.RulesID(family))
	case id.Kind == state.Entry && id.Set.Publishes():
		to = append(c.servers(to, id), state.RulesID(family))
		if id.Set != state.SetNodePort && id.Set != state.SetNodePortLocal {
			to = append(to, state.EntryID(state.SetAll, id.Proto, id.AddrPort()))
		}
	}
	return to
}
