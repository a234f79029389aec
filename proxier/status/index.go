package status

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Index is which frontends there are and for which Service ports they stand, as
// entries of sets tell it: their names are in comments.
type Index struct {
	ports    []port                // sorted by name
	gates    map[state.ID]gates    // of frontends that have some
	networks map[netip.Prefix]bool // in which all node ports are dialled
}

// ReadIndex makes an Index of the entries that read hands to note, in any order, such
// as kernel.Glance.Frontends. All other objects are of no interest.
func ReadIndex(read func(note func(state.ID, state.SpecRef)) error) (*Index, error) {
	s := newSorter()
	if err := read(s.note); err != nil {
		return nil, err
	}
	return s.index(), nil
}

// Behind returns the Service of each virtual server that may stand behind a frontend,
// whichever mode has programmed the node. Of c only the private prefixes count.
func (x *Index) Behind(c desired.Config) map[state.ID]model.Key {
	out := map[state.ID]model.Key{}
	for i := range x.ports {
		for _, entry := range x.ports[i].frontends {
			for _, c.Mode = range modes {
				for _, server := range c.Servers(entry) {
					out[server] = x.ports[i].service()
				}
			}
		}
	}
	return out
}

// Dialled returns the Service of each frontend, by what clients dial there.
func (x *Index) Dialled() Dialled {
	out := Dialled{map[state.ID]model.Key{}, x.networks}
	for i := range x.ports {
		for _, entry := range x.ports[i].frontends {
			out.frontends[bare(entry)] = x.ports[i].service()
		}
	}
	return out
}

// Dialled knows what clients dial.
type Dialled struct {
	frontends map[state.ID]model.Key
	networks  map[netip.Prefix]bool
}

// At returns the Service that clients of an address and port get to.
func (d *Dialled) At(proto state.Protocol, to netip.AddrPort) (service model.Key, ok bool) {
	if service, ok = d.frontends[bare(state.EntryID(state.SetAll, proto, to))]; ok {
		return service, true
	}
	for network := range d.networks {
		if network.Contains(to.Addr()) {
			service, ok = d.frontends[bare(state.NetEntryID(state.SetNodePort, proto, network, to.Port()))]
			return service, ok
		}
	}
	return model.Key{}, false
}

// modes are those that may have programmed a node.
var modes = []desired.Mode{desired.Direct, desired.Image}

// port is one port of a Service.
type port struct {
	name      string     // namespace/name:port
	frontends []state.ID // entries that publish it, one a frontend
}

// service returns the Service of a port; unknown stands in no namespace.
func (p *port) service() model.Key {
	service, _, _ := strings.Cut(p.name, ":")
	namespace, name, ok := strings.Cut(service, "/")
	if !ok {
		return model.Key{Name: service}
	}
	return model.Key{Namespace: namespace, Name: name}
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
	networks  map[netip.Prefix]bool
}

func newSorter() *sorter {
	return &sorter{map[state.ID]state.ID{}, map[state.ID]string{}, map[state.ID]gates{}, map[netip.Prefix]bool{}}
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
		if id.Set.Type() == state.HashNetPort {
			s.networks[netip.PrefixFrom(id.Addr(), int(id.Bits))] = true
		}
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

// unknown is the Service port of a frontend that bears no name.
const unknown = "(unknown Service)"

func (s *sorter) index() *Index {
	x := &Index{gates: s.gates, networks: s.networks}
	at := make(map[string]int, len(s.published))
	for _, entry := range s.published {
		name := cmp.Or(s.names[bare(entry)], unknown)
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
func (x *Index) notes(entry state.ID) []string {
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
func (x *Index) turnsAway(p *port) bool {
	for _, entry := range p.frontends {
		for i, n := range notes {
			if n.wrong && x.gates[bare(entry)]&(1<<i) != 0 {
				return true
			}
		}
	}
	return false
}
