package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
)

// arrange groups what the kernel holds by Service. The names come from the
// comments of set entries.
func arrange(c desired.Config, s *state.State, conns map[state.ID]uint32) *nodeState {
	a := arranger{config: c, state: s, reals: map[state.ID][]endpointState{}, shown: map[state.ID]bool{}}
	for id, spec := range s.All() {
		if id.Kind == state.RealServer {
			a.reals[id.Server()] = append(a.reals[id.Server()], endpointState{id.Endpoint(), spec.Value().Weight, conns[id]})
		}
	}
	out := &nodeState{Objects: s.Count().Map(), VIPs: []netip.Addr{}, Services: []serviceState{}}
	services := map[string][]frontendState{}
	node := map[state.ID]bool{} // node ports have an entry for each network
	for id := range s.All() {
		if id.Kind == state.VIP {
			out.VIPs = append(out.VIPs, id.Addr())
		}
		if id.Kind != state.Entry || !id.Set.Publishes() {
			continue
		}
		if id.Set.Type() == state.HashNetPort {
			one := id
			one = one.At(state.FamilyOf(id.Addr()))
			one.Bits = 0
			if node[one] {
				continue
			}
			node[one] = true
		}
		name := a.name(id)
		services[name] = append(services[name], a.frontend(id))
	}
	for name, frontends := range services {
		slices.SortFunc(frontends, func(x, y frontendState) int {
			return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Address, y.Address), cmp.Compare(x.Protocol, y.Protocol))
		})
		out.Services = append(out.Services, serviceState{name, frontends})
	}
	for id := range s.All() {
		if id.Kind == state.VirtualServer && !a.shown[id] {
			out.Unpublished = append(out.Unpublished, a.server(id, ""))
		}
	}
	slices.SortFunc(out.Services, func(x, y serviceState) int { return cmp.Compare(x.Service, y.Service) })
	slices.SortFunc(out.Unpublished, func(x, y serverState) int { return cmp.Compare(x.Address, y.Address) })
	slices.SortFunc(out.VIPs, netip.Addr.Compare)
	return out
}

type arranger struct {
	config desired.Config
	state  *state.State
	reals  map[state.ID][]endpointState
	shown  map[state.ID]bool
}

// name returns the Service port that an entry publishes.
func (a *arranger) name(id state.ID) string {
	if !id.Set.Comments() {
		id = state.EntryID(state.SetAll, id.Proto, id.AddrPort())
	}
	if spec, ok := a.state.Get(id); ok && spec.Value().Text != "" {
		return spec.Value().Text
	}
	return "(unknown Service)"
}

func (a *arranger) frontend(id state.ID) frontendState {
	f := frontendState{Kind: "ClusterIP", Address: id.AddrPort().String(), Protocol: id.Proto.String(), Servers: []serverState{}}
	switch id.Set {
	case state.SetExternal, state.SetExternalLocal:
		f.Kind = "external"
	case state.SetNodePort, state.SetNodePortLocal:
		f.Kind = "node port"
		f.Address = fmt.Sprintf("*:%d (IPv%d)", id.Port, id.Family())
	}
	f.Notes = a.notes(id)
	for i, server := range a.servers(id) {
		traffic := ""
		if id.Set == state.SetExternalLocal || id.Set == state.SetNodePortLocal {
			traffic = []string{"traffic from pods and the node", "traffic from outside, policy Local"}[i]
		}
		f.Servers = append(f.Servers, a.server(server, traffic))
	}
	return f
}

// servers returns the virtual servers behind an entry. Which mode programmed a
// ClusterIP is told by which of the two is there.
func (a *arranger) servers(id state.ID) []state.ID {
	for _, mode := range []desired.Mode{desired.Direct, desired.Image} {
		c := a.config
		c.Mode = mode
		ids := c.Servers(id)
		if a.state.Has(ids[0]) {
			return ids
		}
	}
	return nil
}

var notes = []struct {
	address, nodePort state.SetName
	text              string
}{
	{state.SetReject, state.SetNodePortReject, "refused: no endpoint anywhere"},
	{state.SetDrop, 0, "dropped: internal policy Local, no endpoint on this node"},
	{state.SetNoLocal, state.SetNodePortNoLocal, "dropped from outside: external policy Local, no endpoint on this node"},
	{state.SetSourceFiltered, 0, "only from loadBalancerSourceRanges"},
}

func (a *arranger) notes(id state.ID) []string {
	var out []string
	for _, n := range notes {
		at := id
		at.Set = n.address
		if id.Set.Type() == state.HashNetPort {
			at.Set = n.nodePort
		}
		if a.state.Has(at) {
			out = append(out, n.text)
		}
	}
	return out
}

func (a *arranger) server(id state.ID, traffic string) serverState {
	a.shown[id] = true
	v := serverState{Address: id.AddrPort().String(), Protocol: id.Proto.String(), For: traffic, Endpoints: []endpointState{}}
	if spec, ok := a.state.Get(id); ok {
		v.Scheduler, v.Affinity = spec.Value().Scheduler, spec.Value().Timeout
	} else {
		v.Scheduler = "MISSING"
	}
	v.Endpoints = append(v.Endpoints, a.reals[id]...)
	slices.SortFunc(v.Endpoints, func(x, y endpointState) int { return x.Address.Compare(y.Address) })
	return v
}
