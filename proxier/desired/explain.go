package desired

import (
	"cmp"
	"net/netip"
	"slices"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Frontend is one address and port that clients of a Service dial, for people
// who ask about it.
type Frontend struct {
	Reach Reach
	Port  int // index of the Service's port
	Proto state.Protocol
	Addr  netip.AddrPort // of NodePort: the family's unspecified address
	Local bool           // its traffic policy is Local

	// Server is the virtual server that takes its traffic: with an external
	// policy Local that of pods and the node, while LocalServer, else zero,
	// takes that of others.
	Server, LocalServer state.ID

	Networks []netip.Prefix // of NodePort: of node addresses that serve it, as ipset takes them
	Lost     model.Key      // the Service that has it instead; zero: this one has it
}

// String names the frontend as problems and reasons do.
func (f Frontend) String() string {
	return frontend{reach: f.Reach, addr: f.Addr, proto: f.Proto}.String()
}

// Frontends returns those of a Service, in the order of its ports, as they were
// rendered last; nil if it was not.
func (t *Table) Frontends(v *model.Service) []Frontend {
	s := t.services.Get(v.Key)
	if s == nil {
		return nil
	}
	var fs frontends
	t.list(&fs, v)
	out := make([]Frontend, 0, len(fs.all))
	for i := range fs.all {
		f := &fs.all[i]
		e := Frontend{Reach: f.reach, Port: f.port, Proto: f.proto, Addr: f.addr, Local: f.local, Server: f.server, LocalServer: f.localServer}
		if f.reach == NodePort {
			e.Networks = t.config.nodePortNetworks(f.addr.Addr())
		}
		if w := t.winner(s, f); w != nil {
			e.Lost = w.rank.key
		}
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b Frontend) int { return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Reach, b.Reach)) })
	return out
}

// Wanted returns what a Service needs in the kernel, of itself alone or with
// others, without what stands on every node.
func (t *Table) Wanted(key model.Key) []state.Object {
	var out []state.Object
	if s := t.services.Get(key); s != nil {
		s.objects(func(o state.Object, _ bool) {
			if o.ID.Kind != state.Flow {
				out = append(out, o)
			}
		})
	}
	return out
}

// ImageOf returns what NETMAP makes of an address with one of the prefixes of
// images: it replaces the leading bits.
func ImageOf(a netip.Addr, p netip.Prefix) netip.Addr { return imageOf(a, p) }
