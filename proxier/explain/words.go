package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// endpointWhy returns in words why an endpoint is chosen or not.
func (n *Node) endpointWhy(v *model.Verdict, r model.Reason) string {
	here := n.Model.Here()
	switch r {
	case model.Chosen:
		switch {
		case v.ForNodes != "" && v.Cluster == model.Chosen && strings.Contains(","+v.ForNodes+",", ","+here.Name+","):
			return "ready, and its hints name this node"
		case v.ForZones != "" && here.Zone != "" && strings.Contains(","+v.ForZones+",", ","+here.Zone+","):
			return "ready, and its hints name this node's zone " + here.Zone
		}
		return "ready"
	case model.LastResort:
		return "terminating and still serving: the last resort, since no ready endpoint can be chosen"
	case model.Leaving:
		return "terminating and still serving, but others are ready"
	case model.Gone:
		return "terminating and not serving"
	case model.NotReady:
		return "not ready"
	case model.OtherNode:
		return fmt.Sprintf("its hints keep it for clients on %s; this is node %s", orNone(v.ForNodes), here.Name)
	case model.OtherZone:
		return fmt.Sprintf("its hints keep it for clients in zone %s; this node is in zone %s", orNone(v.ForZones), orNone(here.Zone))
	case model.NotLocal:
		return fmt.Sprintf("it is on node %s, and traffic policy Local takes endpoints of this node only", orNone(v.Node))
	case model.Duplicate:
		return fmt.Sprintf("EndpointSlice %s lists it, but another one lists it too and counts", v.Slice)
	case model.NoPort:
		return fmt.Sprintf("its EndpointSlice %s does not have this port", v.Slice)
	}
	return fmt.Sprintf("its EndpointSlice %s is of a family in which the Service has no cluster IP", v.Slice)
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// masqueradeWhy returns why NAT rewrites or keeps the source. It finds the reason by the rule
// that has marked the packet, or by the chain that has not.
func (n *Node) masqueradeWhy(w *Way, steps []Step) string {
	var marked Step
	var through desired.Chain
	hairpin := false
	for _, s := range steps {
		chain := desired.ChainOf(s.Chain)
		if !translates(s.Table) {
			continue
		}
		switch s.rule.Target() {
		case "MARK":
			if chain != desired.ChainPost {
				marked = s
			}
		case "NETMAP", "DNAT", "ACCEPT":
			through = chain
		case "MASQUERADE":
			hairpin = hairpin || len(s.Entries) > 0
		}
	}
	switch by := desired.ChainOf(marked.Chain); {
	case w.Masquerade == "no":
		return n.keptWhy(w, through)
	case hairpin && marked.rule == nil:
		return "the client is the endpoint itself: without it the answer would not come back through this node"
	case by == desired.ChainCluster && marked.rule.Options[0].Name == "-j":
		return "all traffic to ClusterIPs is masqueraded (masqueradeAll)"
	case by == desired.ChainCluster:
		return "the client is no pod: the endpoint's answer must come back through this node"
	case by == desired.ChainExt || by == desired.ChainNodePortAll:
		return "external policy Cluster: the endpoint may be on another node, and its answer must come back through this one"
	case by == desired.ChainExtLocal || by == desired.ChainNodePortLocal:
		return "the client is the node itself, which reaches the endpoints of all nodes"
	}
	return "the rule " + marked.Rule + " has marked it"
}

func (n *Node) keptWhy(w *Way, through desired.Chain) string {
	at, kind := state.FamilyOf(w.Client.addr), w.Client.Kind
	local := through == desired.ChainExtLocal || through == desired.ChainNodePortLocal
	switch {
	case local && kind == FromPod:
		return "external policy Local: a pod reaches the endpoints of all nodes by its own address"
	case local:
		return "external policy Local: only endpoints of this node are used, and they see who asks"
	case through == desired.ChainCluster && kind == FromPod:
		return "the client is a pod: the endpoint can answer it directly"
	case through == desired.ChainCluster && n.Config.PodInterface == "" && !n.Config.PodCIDRs[at].IsValid():
		return "the pods' addresses of this family are not known, so no traffic to a ClusterIP is masqueraded"
	case len(n.Differ[at]) > 0:
		return "no rule in the kernel asks for masquerade, and the rules differ from the desired ones"
	}
	return "no rule asks for masquerade"
}

// takesFacts returns why the node takes packets to a frontend.
func (n *Node) takesFacts(f *desired.Frontend) []Fact {
	addr := f.Addr.Addr()
	var out []Fact
	switch f.Reach {
	case desired.ClusterIP:
		vip := state.VIPID(addr)
		spec, present := n.Actual.Get(vip)
		how := "one of this node's own, "
		switch {
		case !present:
			how = "not an address of this node, and should be"
		case spec.Value().Condition != state.Sound:
			how += spec.Value().Condition.String()
		case spec.Value().Bare:
			how += "by a local route of protocol 77"
		default:
			how += "on kube-ipvs0, with a local route of protocol 77"
		}
		out = append(out, Fact{Present: present, Object: vip.String(), Text: fmt.Sprintf("the address %s is %s", addr, how)})
	case desired.NodePort:
		out = append(out, Fact{Present: true, Text: n.nodePortText(f)})
	default:
		out = append(out, Fact{Present: true, Text: fmt.Sprintf("the address %s does not become this node's: the load balancer or the network sends its packets here, and rules take them before they are routed on", addr)})
	}
	return append(out, n.publishing(f)...)
}

func (n *Node) nodePortText(f *desired.Frontend) string {
	at := [...]string{"127.0.0.1", "::1"}[f.Family()]
	relay := n.Config.Relay(f.Family()).IsValid() && f.Proto != state.SCTP
	served := ""
	if relay {
		served = fmt.Sprintf("; the relay serves clients at loopback addresses (--from %s)", at)
	}
	if slices.Equal(f.Networks, state.Halves(netip.PrefixFrom(f.Addr.Addr(), 0))) {
		but := "loopback and ClusterIPs"
		if relay {
			but = "ClusterIPs"
		}
		return fmt.Sprintf("every %s address of this node has port %d, but for %s", f.Family(), f.Addr.Port(), but) + served
	}
	var nets []string
	for _, p := range f.Networks {
		nets = append(nets, p.String())
	}
	return fmt.Sprintf("the %s addresses of this node in %s have port %d", f.Family(), strings.Join(nets, ", "), f.Addr.Port()) + served
}

// publishing returns the set entries that make the rules rewrite packets to a frontend, and the
// routes of its mapped addresses.
func (n *Node) publishing(f *desired.Frontend) []Fact {
	var out []Fact
	for _, o := range f.Entries() {
		out = append(out, Fact{Present: n.Actual.Has(o), Object: o.String(), Text: "the entry that the rules look for"})
	}
	for _, id := range []state.ID{f.Server, f.LocalServer} {
		if id == (state.ID{}) || id.AddrPort() == f.Addr {
			continue
		}
		route, ok := n.imageRoute(id.Addr())
		fact := Fact{Present: ok, Object: route.String(), Text: fmt.Sprintf("the mapped address %s is local too: the virtual server stands there", id.Addr())}
		if !ok {
			fact.Object, fact.Text = "", fmt.Sprintf("there is no local route for the mapped address %s", id.Addr())
		}
		out = append(out, fact)
	}
	return out
}
