package explain

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"kube-ipvs/proxier/balance"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Explain explains the frontends of q, by Service: for all kinds of clients or, if from is valid,
// for the client at from. Its error names a Service, port or address that does not exist.
func (n *Node) Explain(q Query, from netip.Addr) ([]*Explanation, error) {
	matches, err := n.find(q)
	if err != nil {
		return nil, err
	}
	from = from.Unmap().WithZone("")
	if at := q.At.Addr(); at.IsValid() && from.IsValid() && from.Is4() != at.Is4() {
		return nil, fmt.Errorf("a client at %s cannot dial %s, which is of another family", from, at)
	}
	n.prepare()
	var out []*Explanation
	for i := range matches {
		e, err := n.explain(q, &matches[i], from)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// explain explains the frontends of a match.
func (n *Node) explain(q Query, m *match, from netip.Addr) (*Explanation, error) {
	s := m.service
	view, _ := n.Model.View(s.Key)
	out := &Explanation{
		Schema: schema, Service: s.Key.String(), Asked: m.about, Origin: view.Origin, Node: n.Config.NodeName, Zone: n.Model.Here().Zone,
		Mode: string(n.Config.Mode), Frontends: []Frontend{}, Hairpin: n.hairpin(s), Complete: n.Complete,
	}
	for i := range m.frontends {
		f := &m.frontends[i]
		if from.IsValid() && state.FamilyOf(from) != f.Family() {
			continue
		}
		dialled := netip.AddrPort{}
		if m.dialled.IsValid() {
			dialled = netip.AddrPortFrom(m.dialled, f.Addr.Port())
		}
		out.Frontends = append(out.Frontends, n.frontend(s, f, dialled, n.clients(f, m.dialled, from)))
	}
	if len(out.Frontends) == 0 && from.IsValid() {
		return nil, fmt.Errorf("service %s has no frontend of the family of %s", s.Key, from)
	}
	out.Differs = n.differences(s, m.frontends, q)
	out.AsDesired = len(out.Differs) == 0
	out.Problems, out.Unread = n.problems(s), n.unread(s)
	return out, nil
}

// prepare parses the rules, and groups the real servers by virtual server.
func (n *Node) prepare() {
	for i, text := range n.Rules {
		if n.rules[i] == nil || n.parsed[i] != text {
			n.rules[i], n.parsed[i] = parse(text), text
		}
	}
	n.reals = map[state.ID][]real{}
	for id, spec := range n.Actual.All() {
		if id.Kind == state.RealServer {
			n.reals[id.Server()] = append(n.reals[id.Server()], real{id.Endpoint(), spec.Value().Weight})
		}
	}
	for _, all := range n.reals {
		slices.SortFunc(all, func(a, b real) int { return a.at.Compare(b.at) })
	}
}

func (n *Node) frontend(s *model.Service, f *desired.Frontend, dialled netip.AddrPort, clients []Client) Frontend {
	out := Frontend{
		Kind: f.Reach.String(), Address: f.Addr.String(), Family: [...]int{4, 6}[f.Family()], Protocol: f.Proto.String(), Port: s.Ports[f.Port].Name,
		Policy: "Cluster", Takes: n.takesFacts(f), Ways: []Way{}, Servers: []Server{},
	}
	if f.Local {
		out.Policy = "Local"
	}
	if f.Reach == desired.NodePort {
		out.Address = fmt.Sprintf("*:%d", f.Addr.Port())
	}
	if f.Lost != (model.Key{}) {
		out.ServedBy = f.Lost.String()
		return out
	}
	out.SourceRanges = n.sourceRanges(f)
	to := f.Addr
	if f.Reach == desired.NodePort {
		to = n.nodeAddress(f)
	}
	for _, c := range clients {
		switch {
		case dialled.IsValid():
			to = dialled
		case f.Reach == desired.NodePort && c.addr.IsLoopback(): // it dials there, too
			to = netip.AddrPortFrom(c.addr, to.Port())
		}
		out.Ways = append(out.Ways, n.way(f, c, to))
	}
	out.Servers = n.servers(s, f)
	return out
}

// nodeAddress returns an address of the node that serves the frontend's node port: the node's own
// one, if it does.
func (n *Node) nodeAddress(f *desired.Frontend) netip.AddrPort {
	all := append([]netip.Addr{n.Facts.NodeIP(f.Family())}, n.Addresses...)
	for _, a := range all {
		if !a.IsValid() || state.FamilyOf(a) != f.Family() || a.IsLoopback() || a.IsLinkLocalUnicast() || n.Actual.Has(state.VIPID(a)) {
			continue
		}
		if slices.ContainsFunc(f.Networks, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return netip.AddrPortFrom(a, f.Addr.Port())
		}
	}
	return f.Addr
}

// sourceRanges returns the source ranges of a frontend, or nil if all clients may connect.
func (n *Node) sourceRanges(f *desired.Frontend) []string {
	if f.Reach == desired.NodePort || !n.Actual.Has(state.EntryID(state.SetSourceFiltered, f.Proto, f.Addr)) {
		return nil
	}
	nets := []netip.Prefix{}
	for id := range n.Actual.All() {
		if id.Kind == state.Entry && id.Set == state.SetSourceAllowed && id.Proto == f.Proto && id.AddrPort() == f.Addr {
			nets = append(nets, netip.PrefixFrom(id.Peer(), int(id.Bits)))
		}
	}
	slices.SortFunc(nets, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	out := make([]string, 0, len(nets))
	for _, p := range nets {
		out = append(out, p.String())
	}
	return out
}

// servers returns the virtual servers of a frontend, each with every endpoint.
func (n *Node) servers(s *model.Service, f *desired.Frontend) []Server {
	verdicts := n.Model.Verdicts(s.Key, f.Port, f.Family())
	wanted := map[state.ID]state.SpecRef{}
	for _, o := range n.Table.Wanted(s.Key) {
		wanted[o.ID] = o.Spec
	}
	one := n.server(s, f.Server, verdicts, wanted, f.Local && f.Reach == desired.ClusterIP)
	if f.LocalServer == (state.ID{}) {
		return []Server{one}
	}
	two := n.server(s, f.LocalServer, verdicts, wanted, true)
	one.For, two.For = "pods and the node itself", "clients from outside"
	return []Server{one, two}
}

func (n *Node) server(s *model.Service, id state.ID, verdicts []model.Verdict, wanted map[state.ID]state.SpecRef, local bool) Server {
	out := Server{Address: id.AddrPort().String(), Protocol: id.Proto.String(), Endpoints: []Endpoint{}}
	if spec, ok := n.Actual.Get(id); ok {
		out.Present, out.Scheduler, out.Affinity = true, spec.Value().Scheduler, spec.Value().Timeout
	}
	told := map[netip.AddrPort]bool{}
	for i := range verdicts {
		v := &verdicts[i]
		reason := v.Cluster
		if local {
			reason = v.Local
		}
		e := Endpoint{
			Address: v.At.String(), Slice: v.Slice, Node: v.Node, Ready: v.Ready, Serving: v.Serving, Terminating: v.Terminating,
			ForNodes: v.ForNodes, ForZones: v.ForZones, Chosen: reason.Chooses(), Reason: reason.String(), Why: n.endpointWhy(v, reason),
		}
		if v.At.Port() == 0 {
			e.Address = v.At.Addr().String()
		}
		if reason != model.Duplicate {
			n.weigh(&e, s, id, v.At, wanted)
			told[v.At] = true
		}
		out.Endpoints = append(out.Endpoints, e)
	}
	for _, r := range n.reals[id] {
		if !told[r.at] {
			e := Endpoint{Address: r.at.String(), Reason: "unknown", Why: "no EndpointSlice has it"}
			n.weigh(&e, s, id, r.at, wanted)
			out.Endpoints = append(out.Endpoints, e)
		}
	}
	return out
}

// weigh adds the weight, limit and connections of an endpoint in the kernel, and why it takes
// less than its full part.
func (n *Node) weigh(e *Endpoint, s *model.Service, server state.ID, at netip.AddrPort, wanted map[state.ID]state.SpecRef) {
	id := state.RealServerID(server, at)
	spec, ok := n.Actual.Get(id)
	if !ok {
		return
	}
	has := spec.Value()
	e.Weight, e.Connections, e.Limit = &has.Weight, n.Conns[id], has.Upper
	e.Standing = state.Load{Real: id, Weight: has.Weight, Upper: has.Upper, Active: e.Connections}.Standing(n.Reduced)
	_, is := wanted[id]
	switch {
	case e.Standing == state.Draining && !e.Chosen && is:
		e.Why += "; flows that it has go on"
	case e.Standing == state.Draining && !e.Chosen:
		e.Why += "; its connections may end in peace"
	case e.Standing == state.Ejected && s.Balance.SlowStart > 0 && balance.Counts(n.scheduler(server)):
		e.Standing = state.NoNew // the kernel does not tell: both have weight 0
		e.Why += "; " + desired.EjectedReason + ", or its weight rises (slow start)"
	case e.Standing == state.Ejected:
		e.Why += "; " + desired.EjectedReason
	case e.Standing == state.ZeroWeight:
		e.Why += "; a weight rule gives it no new connections"
	case e.Standing == state.SlowStart:
		e.Why += "; its weight rises (slow start)"
	case e.Standing == state.AtLimit:
		e.Why += fmt.Sprintf("; it gets no new connections: it has %d, and may have %d", e.Connections, e.Limit)
	}
}

// scheduler returns the scheduler of a virtual server in the kernel, or "".
func (n *Node) scheduler(server state.ID) string {
	spec, ok := n.Actual.Get(server)
	if !ok {
		return ""
	}
	return spec.Value().Scheduler
}

// hairpin returns the endpoints of the Service that the kernel masquerades to themselves.
func (n *Node) hairpin(s *model.Service) []string {
	out := []string{}
	for _, o := range n.Table.Wanted(s.Key) {
		if o.ID.Kind == state.Entry && o.ID.Set == state.SetHairpin && n.Actual.Has(o.ID) {
			out = append(out, o.ID.AddrPort().String()+"/"+o.ID.Proto.String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (n *Node) problems(s *model.Service) []string {
	out := []string{}
	for _, p := range n.Problems {
		if p.Object == "Service "+s.Key.String() || slices.Contains(n.slices(s), p.Object) {
			out = append(out, p.String())
		}
	}
	return out
}

// unread returns the problems of files and objects that keep the source from being complete,
// without those of s.
func (n *Node) unread(s *model.Service) []string {
	out := []string{}
	if n.Complete {
		return out
	}
	there := map[string]bool{"Service " + s.Key.String(): true}
	for _, key := range n.Model.Keys() {
		service, _ := n.Model.Service(key)
		there["Service "+key.String()] = true
		for _, name := range n.slices(service) {
			there[name] = true
		}
	}
	for _, p := range n.Problems {
		if p.Origin != "" && !there[p.Object] {
			out = append(out, p.String())
		}
	}
	return out
}

// slices returns the names of a Service's EndpointSlices, as in problems.
func (n *Node) slices(s *model.Service) []string {
	var out []string
	for _, name := range n.Model.SlicesOf(s.Key) {
		out = append(out, "EndpointSlice "+s.Key.Namespace+"/"+name)
	}
	return out
}

var errFrom = errors.New("no client has this address")

// CheckFrom returns why an address cannot be that of a client, or nil.
func CheckFrom(a netip.Addr) error {
	if a.IsUnspecified() || a.IsMulticast() {
		return fmt.Errorf("%s: %w", a, errFrom)
	}
	return nil
}
