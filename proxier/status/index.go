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

// Index has all frontends and their Service ports. It reads them from the entries of sets, whose
// comments have the names.
type Index struct {
	ports    []port                // sorted by name
	gates    map[state.ID]gates    // only of frontends with gates
	networks map[netip.Prefix]bool // the networks of node ports
}

// ReadIndex makes an Index of the entries that read hands to note, in any order. It ignores all
// other objects.
func ReadIndex(read func(note func(state.ID, state.SpecRef)) error) (*Index, error) {
	s := newSorter()
	if err := read(s.note); err != nil {
		return nil, err
	}
	return s.index(), nil
}

// Services returns all Services, each once.
func (x *Index) Services() []model.Key {
	var out []model.Key
	for i := range x.ports {
		if s := x.ports[i].service(); s.Namespace != "" && (len(out) == 0 || out[len(out)-1] != s) {
			out = append(out, s)
		}
	}
	return out
}

// Behind returns the Service of each virtual server that may stand behind a frontend, in either
// mode. It uses only the prefixes of mapped addresses of c.
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

// Dialled returns the Service of each frontend, by the address that clients dial.
func (x *Index) Dialled() Dialled {
	out := Dialled{map[state.ID]model.Key{}, x.networks}
	for i := range x.ports {
		for _, entry := range x.ports[i].frontends {
			out.frontends[bare(entry)] = x.ports[i].service()
		}
	}
	return out
}

// Dialled finds Services by the address that clients dial.
type Dialled struct {
	frontends map[state.ID]model.Key
	networks  map[netip.Prefix]bool
}

// At returns the Service that serves an address and port.
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

// modes are the modes that may have programmed a node.
var modes = []desired.Mode{desired.Direct, desired.Image}

// port is one port of a Service.
type port struct {
	name      string     // namespace/name:port
	frontends []state.ID // publishing entries, one for each frontend
}

// service returns the Service of a port; that of unknown has no namespace.
func (p *port) service() model.Key {
	service, _, _ := strings.Cut(p.name, ":")
	namespace, name, ok := strings.Cut(service, "/")
	if !ok {
		return model.Key{Name: service}
	}
	return model.Key{Namespace: namespace, Name: name}
}

// gates has a bit for each of notes that keeps clients away from a frontend.
type gates uint8

// notes has the meaning of entries of some sets for their frontends.
var notes = []struct {
	addresses, nodePorts state.SetName
	text                 string
	wrong                bool // always a fault
}{
	{state.SetReject, state.SetNodePortReject, "refused: no endpoint anywhere", true},
	{state.SetDrop, 0, "dropped: internal policy Local, no endpoint on this node", true},
	{state.SetNoLocal, state.SetNodePortNoLocal, "dropped from outside: external policy Local, no endpoint on this node", false},
	{state.SetSourceFiltered, 0, "only from loadBalancerSourceRanges", false},
}

// wrong reports whether a note is always a fault.
func wrong(text string) bool {
	for _, n := range notes {
		if n.text == text {
			return n.wrong
		}
	}
	return false
}

// bare returns an ID that all entries of a frontend have in common. Node ports have an entry for
// each network.
func bare(entry state.ID) state.ID {
	if entry.Set.Type() == state.HashNetPort {
		entry = entry.At(entry.Family().Unspecified())
		entry.Bits = 0
	}
	entry.Set = 0
	return entry
}

// sorter makes an Index of entries in any order.
type sorter struct {
	published map[state.ID]state.ID // one entry of each set and frontend
	names     map[state.ID]string
	gates     map[state.ID]gates
	networks  map[netip.Prefix]bool
}

func newSorter() *sorter {
	return &sorter{map[state.ID]state.ID{}, map[state.ID]string{}, map[state.ID]gates{}, map[netip.Prefix]bool{}}
}

// note takes a set entry, and ignores all other objects.
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

// unknown is the Service port of a frontend without a name.
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

// notes returns the notes of an entry's frontend.
func (x *Index) notes(entry state.ID) []string {
	var out []string
	for i, n := range notes {
		if x.gates[bare(entry)]&(1<<i) != 0 {
			out = append(out, n.text)
		}
	}
	return out
}

// turnsAway reports whether a frontend of the port turns away all clients, or all of the cluster,
// since it has no endpoints.
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
