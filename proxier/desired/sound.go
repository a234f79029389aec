package desired

import (
	"fmt"

	"kube-ipvs/proxier/state"
)

// Sound returns an error if an object of s, the objects of a node at any moment, lacks
// one that it needs: a published frontend its virtual server, a rule or entry its set, a
// real server its virtual server, a VIP its entry. Tests call it after every single write.
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

// Needs appends the objects that must exist while id does: those without which the kernel
// refuses it (state.Needs), and those without which it answers wrongly. id is added after
// them and deleted before them.
func (c *Config) Needs(to []state.ID, id state.ID) []state.ID {
	if id.Kind != state.VIP || !c.NoDevice {
		to = state.Needs(to, id)
	}
	switch {
	case id.Kind == state.VIP:
		to = append(to, state.VIPEntryID(id.Addr()))
	case id.Kind == state.Route:
		to = append(to, state.RulesID(id.Family()))
	case id.Kind == state.Entry && id.Set.Publishes():
		to = append(c.servers(to, id), state.RulesID(id.Family()))
		if id.Set != state.SetNodePort && id.Set != state.SetNodePortLocal {
			to = append(to, state.EntryID(state.SetAll, id.Proto, id.AddrPort()))
		}
	}
	return to
}
