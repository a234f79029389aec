package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
)

// Addresses that stand for clients outside, and for pods. They are for documentation, so that no
// client has one (RFC 5737, RFC 3849).
var (
	outsiders = [2]netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1")}
	strangers = [2]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:1::1")}
)

// clients returns the client at from or, if from is invalid, one of each kind that can dial
// the address.
func (n *Node) clients(f *desired.Frontend, dialled, from netip.Addr) []Client {
	switch {
	case from.IsValid():
		return []Client{n.client(from)}
	case dialled.IsLoopback():
		return []Client{{Kind: FromNode, addr: dialled}}
	}
	at := f.Family()
	var out []Client
	unknown := false
	if n.Config.PodInterface != "" {
		link, wild := strings.CutSuffix(n.Config.PodInterface, "+")
		if wild {
			link += "0"
		}
		out = append(out, Client{Kind: FromPod, Link: link, allOfKind: true, addr: strangers[at]})
	} else if p := n.Config.PodCIDRs[at]; p.IsValid() {
		out = append(out, Client{Kind: FromPod, allOfKind: true, addr: p.Addr()})
	} else {
		unknown = true
	}
	if node := n.Facts.NodeIP(f.Family()); node.IsValid() {
		out = append(out, Client{Kind: FromNode, addr: node})
	}
	return append(out, Client{Kind: FromOutside, allOfKind: true, orPod: unknown, addr: outsiders[at]})
}

// client returns the client with an address, and its kind.
func (n *Node) client(a netip.Addr) Client {
	c := Client{Kind: FromOutside, Address: a.String(), addr: a}
	p, prefix := n.Config.PodCIDRs[state.FamilyOf(a)], n.Config.PodInterface
	if n.LinkOf != nil && prefix != "" {
		c.Link = n.LinkOf(a)
	}
	name, wild := strings.CutSuffix(prefix, "+")
	switch {
	case n.isLocal(a) || n.Actual.Has(state.VIPID(a)):
		c.Kind, c.Link, c.Why = FromNode, "", "the address is this node's own"
	case prefix != "" && (c.Link == name || wild && strings.HasPrefix(c.Link, name)):
		c.Kind, c.Why = FromPod, fmt.Sprintf("its packets come in by %s, and pods are known by links %s", c.Link, prefix)
	case prefix != "":
		c.Why = fmt.Sprintf("its packets come in by %q, and pods are known by links %s", c.Link, prefix)
	case p.IsValid() && p.Contains(a):
		c.Kind, c.Why = FromPod, fmt.Sprintf("the address is in the pods' range %s", p)
	case p.IsValid():
		c.Why = fmt.Sprintf("the address is neither this node's nor in the pods' range %s", p)
	default:
		c.Why = "the address is not this node's, and no range of pods is known"
	}
	return c
}

// takes reports whether table local has a route for an address, so that the kernel takes its
// packets.
func (n *Node) takes(a netip.Addr) bool {
	if n.isLocal(a) || n.Actual.Has(state.VIPID(a)) {
		return true
	}
	_, ok := n.imageRoute(a)
	return ok
}

// imageRoute returns the route that makes a mapped address local.
func (n *Node) imageRoute(a netip.Addr) (state.ID, bool) {
	for bits := 0; bits <= a.BitLen(); bits++ {
		if id := state.RouteID(netip.PrefixFrom(a, bits)); n.Actual.Has(id) {
			return id, true
		}
	}
	return state.ID{}, false
}

// way follows a client's first packet to an address and port.
func (n *Node) way(f *desired.Frontend, c Client, to netip.AddrPort) Way {
	t := &tracer{node: n, rules: n.rules[state.FamilyOf(to.Addr())],
		packet: packet{client: c, source: c.addr, in: c.Link, proto: f.Proto, to: to}}
	w := Way{Client: c, To: fmt.Sprintf("%s/%s", to, f.Proto)}
	w.Outcome, w.Why = n.follow(t)
	w.IfFrom, w.Unsure, w.Relay = t.ifFrom, t.unsure, t.relay
	if w.Outcome == Served {
		server := state.VirtualServerID(f.Proto, t.packet.to)
		w.Server = fmt.Sprintf("%s/%s", server.AddrPort(), server.Proto)
		n.masquerade(t, &w, server)
	}
	if w.Steps = t.steps; w.Steps == nil {
		w.Steps = []Step{}
	}
	return w
}

// ownTable comes before table nat, and packets that it decides about do not get there.
const ownTable = "kube-ipvs"

func translates(table string) bool { return table == ownTable || table == "nat" }

// follow sends the packet through the hooks until IPVS takes it or it ends. The hooks are in the
// kernel's order: IPVS sees the node's own packets after table nat and before table filter
// (ip_vs_core.c, ip_vs_ops4).
func (n *Node) follow(t *tracer) (outcome, why string) {
	own := t.packet.client.Kind == FromNode
	hook := "PREROUTING"
	if own {
		hook = "OUTPUT"
	}
	if t.table("mangle", hook) == dropped {
		return Dropped, n.dropWhy(t)
	}
	dialled := t.packet.to
	if t.chain(ownTable, hook) == returned && t.table("nat", hook) == dropped {
		return Dropped, "a rule of table nat drops it"
	}
	if n.relayed(t, dialled) {
		return n.follow(t)
	}
	if !n.takes(t.packet.to.Addr()) {
		if t.packet.nat {
			return Unroutable, fmt.Sprintf("there is no local route for %s", t.packet.to.Addr())
		}
		if !own {
			hook = "FORWARD"
		}
		if outcome, why := t.filter(hook); outcome != "" {
			return outcome, why
		}
		return PassedOn, fmt.Sprintf("no rule matches %s, and it is not an address of this node", t.packet.to)
	}
	if !own {
		if t.table("mangle", "INPUT") == dropped {
			return Dropped, n.dropWhy(t)
		}
		if outcome, why := t.filter("INPUT"); outcome != "" {
			return outcome, why
		}
	}
	server := state.VirtualServerID(t.packet.proto, t.packet.to)
	switch {
	case !n.Actual.Has(server):
	case n.serving(server) == 0:
		return Refused, fmt.Sprintf("virtual server %s has no endpoint with a weight", server.AddrPort())
	case t.packet.source.IsLoopback():
		return Dropped, "IPVS does not take loopback sources"
	default:
		return Served, ""
	}
	if own {
		if outcome, why := t.filter("OUTPUT"); outcome != "" {
			return outcome, why
		}
	}
	if t.packet.to.Addr().IsLoopback() {
		return ToHost, n.unrelayedWhy(t.packet.to.Addr()) + ": a process of this node that listens there would answer, else it is refused"
	}
	return ToHost, fmt.Sprintf("no virtual server has %s: a process of this node that listens there would answer, else it is refused", t.packet.to)
}

// unserved reports whether a rule has matched since the frontend has no endpoint.
func (t *tracer) unserved() bool {
	return slices.ContainsFunc(t.steps, func(s Step) bool {
		return slices.Contains(s.sets, state.SetReject) || slices.Contains(s.sets, state.SetNodePortReject)
	})
}

// relayed reports whether the rules have sent the packet to the relay. If so, the tracer
// continues with the relay's own packet, from the node's address to the dialled address.
func (n *Node) relayed(t *tracer, dialled netip.AddrPort) bool {
	family := state.FamilyOf(dialled.Addr())
	node := n.Facts.NodeIP(family)
	if at := n.Config.Relay(family); t.packet.to != at || !at.IsValid() || !node.IsValid() {
		return false
	}
	t.packet = packet{client: t.packet.client, source: node, proto: t.packet.proto, to: dialled}
	t.relay = fmt.Sprintf("the relay takes it, and dials %s itself, from %s", dialled, node)
	t.steps[len(t.steps)-1].Does += "; " + t.relay
	return true
}

// unrelayedWhy returns why a node port is not served at a loopback address.
func (n *Node) unrelayedWhy(a netip.Addr) string {
	if n.Config.Relay(state.FamilyOf(a)).IsValid() {
		return "no TCP or UDP node port that the relay serves has it"
	}
	return "IPVS does not take loopback sources, and node ports are relayed only where nodePortAddresses says localhost"
}

// filter returns the outcome in table filter, or "" if the packet passes it.
func (t *tracer) filter(hook string) (outcome, why string) {
	switch t.table("filter", hook) {
	case dropped:
		return Dropped, "a rule of table filter drops it"
	case rejected:
		if t.unserved() {
			return Refused, "the Service has no endpoint anywhere"
		}
		return Refused, "the address is a Service's, and no Service has published this port"
	}
	return "", ""
}

// dropWhy returns why the last rule dropped the packet.
func (n *Node) dropWhy(t *tracer) string {
	if len(t.steps) == 0 {
		return "a rule drops it"
	}
	last := t.steps[len(t.steps)-1]
	for _, set := range last.sets {
		switch set {
		case state.SetSourceFiltered:
			return "its address is in none of loadBalancerSourceRanges"
		case state.SetDrop:
			return "internal policy Local, and this node has no endpoint of the Service"
		case state.SetNoLocal, state.SetNodePortNoLocal:
			return "external policy Local, and this node has no endpoint of the Service"
		}
	}
	if n.Config.Reserved(t.packet.source) != "" {
		return "its source is a mapped address, and these exist only between NAT and IPVS"
	}
	if last.rule.Options[0].Name == "-d" {
		return "the address is a mapped address: clients may not dial these"
	}
	return "the rule " + last.Rule + " drops it"
}

// serving counts the real servers that get connections.
func (n *Node) serving(server state.ID) int {
	count := 0
	for _, r := range n.reals[server] {
		if r.weight > 0 {
			count++
		}
	}
	return count
}

// masquerade finds for each endpoint that IPVS may pick whether NAT rewrites the source.
func (n *Node) masquerade(t *tracer, w *Way, server state.ID) {
	var ends []tracer
	var hidden []netip.AddrPort
	for _, r := range n.reals[server] {
		if r.weight == 0 {
			continue
		}
		end := *t
		end.packet.to, end.steps = r.at, slices.Clone(t.steps)
		if end.table("nat", "POSTROUTING") == masqueraded {
			hidden = append(hidden, r.at)
			ends = slices.Insert(ends, 0, end)
			continue
		}
		ends = append(ends, end)
	}
	t.steps, w.Masquerade = ends[0].steps, "some"
	switch len(hidden) {
	case 0:
		w.Masquerade = "no"
	case len(ends):
		w.Masquerade = "yes"
	default:
		for _, at := range hidden {
			w.Masqueraded = append(w.Masqueraded, at.String())
		}
	}
	w.MasqueradeWhy = n.masqueradeWhy(w, t.steps)
}
