package main

import (
	"cmp"
	"context"
	"net/netip"
	"strings"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
	"kube-ipvs/proxier/status"
	"kube-ipvs/proxier/traffic"
)

// topReader reads counters and knows whose they are. The names come from the
// comments of set entries.
type topReader struct {
	config  desired.Config
	flows   bool // count in conntrack, too
	traffic *kernel.Traffic
	names   published
}

func openTop(c desired.Config, flows bool) (*topReader, error) {
	t, err := kernel.OpenTraffic()
	if err != nil {
		return nil, err
	}
	return &topReader{config: c, flows: flows, traffic: t}, nil
}

func (r *topReader) close() { _ = r.traffic.Close() }

// Rows is part of counters.
func (r *topReader) Rows(context.Context) ([]traffic.Row, error) {
	servers, err := r.traffic.Servers()
	if err != nil {
		return nil, err
	}
	if err := r.name(servers); err != nil {
		return nil, err
	}
	rows := make([]traffic.Row, 0, len(servers))
	for id, c := range servers {
		rows = append(rows, traffic.Row{ServedPort: report.ServedPort{Key: r.names.servers[id], Whole: r.config.SeesAll(id)}, Of: id, Counted: c})
	}
	return rows, nil
}

// name reads the sets again when there is a virtual server without a name.
func (r *topReader) name(servers map[state.ID]kernel.Counted) error {
	strange := false
	for id := range servers {
		_, known := r.names.servers[id]
		strange = strange || !known
	}
	if !strange {
		return nil
	}
	entries, err := kernel.Published(r.config.IPv6)
	if err != nil {
		return err
	}
	r.names = publishedBy(r.config, entries)
	for id := range servers {
		if _, known := r.names.servers[id]; !known {
			r.names.servers[id] = model.Key{Name: "(unpublished)"}
		}
	}
	return nil
}

// Open is part of counters.
func (r *topReader) Open() (map[model.Key]uint64, error) {
	if !r.flows {
		return nil, nil
	}
	open := map[model.Key]uint64{}
	err := kernel.OpenFlows(r.config.IPv6, func(proto state.Protocol, to netip.AddrPort) {
		if s, ok := r.names.dialled(proto, to); ok {
			open[s]++
		}
	})
	return open, err
}

// published says whose frontends are, and the virtual servers behind them.
type published struct {
	servers   map[state.ID]model.Key // in either mode: the counters tell which of them are there
	addresses map[state.ID]model.Key // by the entry of SetAll
	nodePorts map[state.ID][]nodePort
}

// nodePort is a node port on the node addresses in a network.
type nodePort struct {
	network netip.Prefix
	service model.Key
}

func publishedBy(c desired.Config, entries *state.State) published {
	out := published{map[state.ID]model.Key{}, map[state.ID]model.Key{}, map[state.ID][]nodePort{}}
	for id := range entries.All() {
		if id.Kind != state.Entry || !id.Set.Publishes() {
			continue
		}
		s := serviceOf(servicePort(entries, id))
		if id.Set.Type() == state.HashNetPort {
			key := anyAddress(id.Proto, id.AddrPort())
			out.nodePorts[key] = append(out.nodePorts[key], nodePort{netip.PrefixFrom(id.Addr(), int(id.Bits)), s})
		} else {
			out.addresses[state.EntryID(state.SetAll, id.Proto, id.AddrPort())] = s
		}
		for _, mode := range []desired.Mode{desired.Direct, desired.Image} {
			c.Mode = mode
			for _, server := range c.Servers(id) {
				out.servers[server] = s
			}
		}
	}
	return out
}

// servicePort returns the Service port that an entry publishes.
func servicePort(entries *state.State, id state.ID) string {
	if !id.Set.Comments() {
		id = state.EntryID(state.SetAll, id.Proto, id.AddrPort())
	}
	spec, ok := entries.Get(id)
	if !ok {
		return status.Unknown
	}
	return cmp.Or(spec.Value().Text, status.Unknown)
}

// serviceOf reads namespace/name:port, as comments have it.
func serviceOf(comment string) model.Key {
	namespace, name, ok := strings.Cut(comment, "/")
	if !ok {
		return model.Key{Name: comment}
	}
	name, _, _ = strings.Cut(name, ":")
	return model.Key{Namespace: namespace, Name: name}
}

// anyAddress stands for a port on all addresses of a family.
func anyAddress(proto state.Protocol, at netip.AddrPort) state.ID {
	return state.EntryID(state.SetNodePort, proto, netip.AddrPortFrom(state.FamilyOf(at.Addr()), at.Port()))
}

// dialled returns the Service that clients of an address and port get to.
func (p *published) dialled(proto state.Protocol, to netip.AddrPort) (model.Key, bool) {
	if s, ok := p.addresses[state.EntryID(state.SetAll, proto, to)]; ok {
		return s, true
	}
	for _, n := range p.nodePorts[anyAddress(proto, to)] {
		if n.network.Contains(to.Addr()) {
			return n.service, true
		}
	}
	return model.Key{}, false
}
