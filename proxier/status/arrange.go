package status

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
)

// Arrange groups the objects of the kernel by Service. It uses only the prefixes of mapped
// addresses of c, and finds by itself which mode has programmed the node.
func Arrange(c desired.Config, s *state.State, connections map[state.ID]Connections) *Node {
	entries, known := newSorter(), newServers(nil)
	out := &Node{Objects: s.Count().Map(), VIPs: []netip.Addr{}, Services: []Service{}}
	for id, spec := range s.All() {
		entries.note(id, spec)
		known.note(id, spec, connections[id])
		if id.Kind == state.VIP {
			out.VIPs = append(out.VIPs, id.Addr())
		}
	}
	a := arranger{index: entries.index(), servers: known, shown: map[state.ID]bool{}}
	a.behind = func(entry state.ID) []state.ID {
		for _, c.Mode = range modes {
			if ids := c.Servers(entry); known.has(ids[0]) {
				return ids
			}
		}
		return nil
	}
	for i := range a.index.ports {
		out.Services = append(out.Services, a.service(&a.index.ports[i], 0))
	}
	for id := range known.specs {
		if !a.shown[id] {
			out.Unpublished = append(out.Unpublished, a.server(id, ""))
		}
	}
	slices.SortFunc(out.Unpublished, func(x, y Server) int {
		return cmp.Or(cmp.Compare(x.Address, y.Address), cmp.Compare(x.Protocol, y.Protocol))
	})
	slices.SortFunc(out.VIPs, netip.Addr.Compare)
	return out
}

// servers are the virtual servers of the kernel.
type servers struct {
	specs   map[state.ID]state.SpecRef
	reals   map[state.ID][]Endpoint
	reduced state.Reduced // nil: not known
}

func newServers(reduced state.Reduced) *servers {
	return &servers{map[state.ID]state.SpecRef{}, map[state.ID][]Endpoint{}, reduced}
}

// note takes a virtual or a real server, and ignores all other objects.
func (s *servers) note(id state.ID, spec state.SpecRef, c Connections) {
	switch id.Kind {
	case state.VirtualServer:
		s.specs[id] = spec
	case state.RealServer:
		server, has := id.Server(), spec.Value()
		load := state.Load{Real: id, Weight: has.Weight, Upper: has.Upper, Active: c.Active, Inactive: c.Inactive}
		s.reals[server] = append(s.reals[server], Endpoint{id.Endpoint(), has.Weight, has.Upper, load.Standing(s.reduced), c.Active + c.Inactive, c})
	}
}

func (s *servers) has(id state.ID) bool {
	_, ok := s.specs[id]
	return ok
}

// arranger builds the Services of a Node.
type arranger struct {
	index   *Index
	servers *servers
	behind  func(entry state.ID) []state.ID // virtual servers of a frontend
	shown   map[state.ID]bool               // virtual servers
}

// service returns a port with at most most frontends; 0: all.
func (a *arranger) service(p *port, most int) Service {
	out := Service{Service: p.name, Frontends: []Frontend{}}
	entries, more := p.first(most)
	for _, entry := range entries {
		out.Frontends = append(out.Frontends, a.frontend(entry))
	}
	out.More = more
	return out
}

// first returns at most most frontends, in the order of the page, and the number of the others.
func (p *port) first(most int) (entries []state.ID, more int) {
	type shown struct {
		kind, address string
		entry         state.ID
	}
	all := make([]shown, 0, len(p.frontends))
	for _, entry := range p.frontends {
		kind, address := kindOf(entry)
		all = append(all, shown{kind, address, entry})
	}
	slices.SortFunc(all, func(x, y shown) int {
		return cmp.Or(cmp.Compare(x.kind, y.kind), cmp.Compare(x.address, y.address), cmp.Compare(x.entry.Proto.String(), y.entry.Proto.String()))
	})
	if most > 0 && len(all) > most {
		all, more = all[:most], len(all)-most
	}
	for _, s := range all {
		entries = append(entries, s.entry)
	}
	return entries, more
}

// kindOf returns the kind of an entry's frontend, in the words of explain, and its address. The
// kernel does not tell a load-balancer IP from an external IP.
func kindOf(entry state.ID) (kind, address string) {
	switch entry.Set {
	case state.SetExternal, state.SetExternalLocal:
		return "external", entry.AddrPort().String()
	case state.SetNodePort, state.SetNodePortLocal:
		return desired.NodePort.String(), fmt.Sprintf("*:%d (%s)", entry.Port, entry.Family())
	}
	return desired.ClusterIP.String(), entry.AddrPort().String()
}

func (a *arranger) frontend(entry state.ID) Frontend {
	f := Frontend{Protocol: entry.Proto.String(), Notes: a.index.notes(entry), Servers: []Server{}}
	f.Kind, f.Address = kindOf(entry)
	ids := a.behind(entry)
	for i, id := range ids {
		traffic := ""
		if len(ids) > 1 {
			traffic = []string{"traffic from pods and the node", "traffic from outside, policy Local"}[i]
		}
		f.Servers = append(f.Servers, a.server(id, traffic))
	}
	return f
}

func (a *arranger) server(id state.ID, traffic string) Server {
	a.shown[id] = true
	v := Server{Address: id.AddrPort().String(), Protocol: id.Proto.String(), For: traffic, Endpoints: []Endpoint{}}
	if spec, ok := a.servers.specs[id]; ok {
		v.Scheduler, v.Affinity = spec.Value().Scheduler, spec.Value().Timeout
	} else {
		v.Scheduler = Missing
	}
	v.Endpoints = append(v.Endpoints, a.servers.reals[id]...)
	slices.SortFunc(v.Endpoints, func(x, y Endpoint) int { return x.Address.Compare(y.Address) })
	return v
}

// Missing is the scheduler of a missing virtual server.
const Missing = "MISSING"
