package desired

import (
	"net/netip"
	"slices"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Fragment has the objects that one Service needs in the kernel.
type Fragment struct {
	Own    []state.Object // objects of this Service alone; real servers in the order of their addition
	Shared []state.Object // objects that other Services may need too: addresses, hairpin entries, settings
}

// Reason receives the reason for each rendered object; see Explain.
type Reason func(id state.ID, why string)

// render renders one Service after another, in the same memory.
type render struct {
	config    *Config
	facts     state.Facts
	view      model.View
	scheduler string // of the virtual servers of view
	because   Reason
	out       Fragment
	shared    map[state.ID]bool // the IDs of out.Shared, once they are many
	hairpin   [][2]bool         // by port and family: the hairpin entries are rendered
	order     []ranked          // memory of server
	last      [3]lastSpec       // Specs interned last, by use: most Services share some
	answers   [2]answers        // by family, those of the last port
}

// answers are the endpoints that may answer UDP flows to a port of the Service.
type answers struct {
	known bool
	port  int
	spec  state.SpecRef
}

// The uses of render.last.
const (
	ofServer = iota
	ofVIP4
	ofVIP6
)

type lastSpec struct {
	known bool
	spec  state.Spec
	ref   state.SpecRef
}

// intern returns the reference for s. It is quick if s was the last one of a use.
func (r *render) intern(use int, s state.Spec) state.SpecRef {
	last := &r.last[use]
	if !last.known || last.spec != s {
		*last = lastSpec{true, s, state.Intern(s)}
	}
	return last.ref
}

// service makes r.out the Fragment of a Service with the frontends that it owns.
func (r *render) service(v model.View, all []Frontend, owns func(*Frontend) bool) {
	r.view, r.scheduler = v, r.config.schedulerOf(v.Service)
	r.out.Own, r.out.Shared, r.shared = r.out.Own[:0], r.out.Shared[:0], nil
	r.hairpin, r.answers = append(r.hairpin[:0], make([][2]bool, len(v.Ports))...), [2]answers{}
	for i := range all {
		if fe := &all[i]; owns(fe) {
			r.frontend(fe)
		}
	}
	r.health()
	r.view = model.View{} // lets the memory go
}

// health adds the entries that let load balancers reach the health-check node port. They
// are shared, since two Services may name the same port.
func (r *render) health() {
	port := r.view.HealthCheckPort
	if port == 0 {
		return
	}
	for _, family := range r.config.families() {
		for _, n := range r.config.nodePortNetworks(family) {
			r.share(state.NetEntryID(state.SetHealth, state.TCP, n, port), state.None, "health-check node port")
		}
	}
}

func (r *render) own(id state.ID, spec state.SpecRef, why ...string) {
	r.out.Own = append(r.out.Own, state.Object{ID: id, Spec: spec})
	r.tell(id, why)
}

func (r *render) share(id state.ID, spec state.SpecRef, why ...string) {
	if r.shares(id) {
		return
	}
	r.out.Shared = append(r.out.Shared, state.Object{ID: id, Spec: spec})
	r.tell(id, why)
}

// shares reports whether out has the shared object, and notes that it has from now on.
func (r *render) shares(id state.ID) bool {
	const few = 16
	if len(r.out.Shared) < few {
		return slices.ContainsFunc(r.out.Shared, func(o state.Object) bool { return o.ID == id })
	}
	if r.shared == nil {
		r.shared = make(map[state.ID]bool, 2*few)
		for i := range r.out.Shared {
			r.shared[r.out.Shared[i].ID] = true
		}
	}
	had := r.shared[id]
	r.shared[id] = true
	return had
}

func (r *render) tell(id state.ID, why []string) {
	if r.because == nil {
		return
	}
	text := ""
	for i, w := range why {
		if i > 0 {
			text += ": "
		}
		text += w
	}
	r.because(id, text)
}

// endpoints returns the endpoints of the frontend's port in its family.
func (r *render) endpoints(f *Frontend) model.Endpoints {
	return r.view.Endpoints[f.Family()][f.Port]
}

func (r *render) frontend(f *Frontend) {
	eps := r.endpoints(f)
	var what string
	if r.because != nil {
		what = f.String()
	}
	if f.Reach == ClusterIP {
		if f.Local {
			r.server(f.Server, eps.Local, eps.LocalWeights, f, what+", internal policy Local")
		} else {
			r.server(f.Server, eps.Cluster, eps.ClusterWeights, f, what)
		}
		r.share(state.VIPEntryID(f.Addr.Addr()), state.None, what)
		r.share(state.VIPID(f.Addr.Addr()), r.vip(f.Addr.Addr()), what)
	} else {
		r.server(f.Server, eps.Cluster, eps.ClusterWeights, f, what)
		if f.Local {
			r.server(f.LocalServer, eps.Local, eps.LocalWeights, f, what+", from outside, external policy Local")
		}
	}
	if f.Family() == state.IPv6 {
		r.share(forwardIPv6.ID, forwardIPv6.Spec, "a Service with an IPv6 address")
	}
	if done := &r.hairpin[f.Port][f.Family()]; !*done {
		*done = true
		for _, ep := range eps.OnNode {
			r.share(state.HairpinID(f.Proto, ep), state.None, "endpoint on this node")
		}
	}
	r.gates(f, eps, what)
	r.publish(f, what)
}

// server adds a virtual server and its real servers, with weights if there are any.
func (r *render) server(id state.ID, endpoints []netip.AddrPort, weights []uint32, f *Frontend, why string) {
	r.own(id, r.serverSpec(), why)
	node := r.config.NodeName
	if r.scheduler == maglev {
		node = "" // the table of mh depends on the order, and is to be the same on all nodes
	}
	r.order = shuffle(r.order[:0], endpoints, node, r.view.Key, f.Port)
	weights, ejected := r.weights(id, endpoints, weights)
	for i := range r.order {
		at := r.order[i].index
		weight, what := uint32(1), "endpoint"
		if weights != nil {
			weight = weights[at]
		}
		if ejected != nil && ejected[at] {
			what = EjectedReason
		}
		r.own(state.RealServerID(id, r.order[i].endpoint), state.Serving(weight, r.view.Balance.MaxConnections), why, what)
	}
	if id.Proto == state.UDP && r.config.SeesAll(id) && state.SchedulerDrains(r.scheduler) {
		r.staying(id, endpoints, f, why)
	}
}

// staying adds, with weight 0, serving endpoints that get no new clients, since they are
// terminating or a policy or hint excludes them: without a real server IPVS would end
// their UDP flows. Behind a mapped address conntrack carries flows; connections drain.
func (r *render) staying(id state.ID, chosen []netip.AddrPort, f *Frontend, why string) {
	for _, ep := range r.endpoints(f).Serving {
		if !contains(chosen, ep) {
			r.own(state.RealServerID(id, ep), state.Weight(0), why, "endpoint keeps its flows and gets no new ones")
		}
	}
}

// contains reports whether a sorted list has an endpoint.
func contains(sorted []netip.AddrPort, ep netip.AddrPort) bool {
	_, ok := slices.BinarySearchFunc(sorted, ep, netip.AddrPort.Compare)
	return ok
}

func (r *render) serverSpec() state.SpecRef {
	s := state.Spec{Scheduler: r.scheduler}
	s.Flags = state.FlagOurs | schedulerFlags(s.Scheduler, r.view.Balance.Scheduler)
	if r.view.Affinity > 0 {
		s.Flags |= state.FlagPersistent
		s.Timeout = uint32(r.view.Affinity / time.Second)
	}
	return r.intern(ofServer, s)
}

// vip returns the Spec of a VIP. The node's own packets to it must leave with the node's
// address and the MTU of its link, not with the VIP and the MTU of lo.
func (r *render) vip(a netip.Addr) state.SpecRef {
	family := state.FamilyOf(a)
	bare := r.config.NoDevice || r.facts.NoVIPv6 && family == state.IPv6
	return r.intern(ofVIP4+int(family), state.Spec{Source: r.facts.NodeIP(family), MTU: r.facts.MTU, Bare: bare})
}

// gates adds the entries that refuse, drop or filter.
func (r *render) gates(f *Frontend, eps model.Endpoints, what string) {
	switch {
	case !eps.Any:
		r.enter(f, state.SetReject, state.SetNodePortReject, what, "refused, there is no endpoint")
	case f.Local && len(eps.Local) == 0 && f.Reach == ClusterIP:
		r.enter(f, state.SetDrop, 0, what, "dropped, internal policy is Local and this node has no endpoint")
	case f.Local && len(eps.Local) == 0:
		r.enter(f, state.SetNoLocal, state.SetNodePortNoLocal, what, "dropped from outside, external policy is Local and this node has no endpoint")
	}
	if f.sourced {
		r.sources(f, what)
	}
}

// enter adds f to the set for its kind: a node port with each network that serves it,
// others with their address.
func (r *render) enter(f *Frontend, addresses, nodePorts state.SetName, why ...string) {
	set := addresses
	if f.Reach == NodePort {
		set = nodePorts
	}
	spec := state.None
	if set.Comments() {
		spec = r.comment(f)
	}
	if f.Reach != NodePort {
		r.own(state.EntryID(set, f.Proto, f.Addr), spec, why...)
		return
	}
	for _, n := range r.config.nodePortNetworks(f.Family()) {
		r.own(state.NetEntryID(set, f.Proto, n, f.Addr.Port()), spec, why...)
	}
}

// publish adds the entries that make the frontend answer, and the Flow of a UDP frontend.
func (r *render) publish(f *Frontend, what string) {
	if f.Reach != NodePort {
		r.enter(f, state.SetAll, 0, what)
	}
	had := len(r.out.Own)
	if f.Local && f.Reach != ClusterIP {
		r.enter(f, f.set(), f.set(), what, "external policy Local")
	} else {
		r.enter(f, f.set(), f.set(), what)
	}
	if f.Proto == state.UDP {
		for _, entry := range r.out.Own[had:] {
			r.own(entry.ID.Flows(), r.answering(f), what, "endpoints that may answer")
		}
	}
}

// answering returns the endpoints that may answer flows to the frontend: every serving
// endpoint of any node, regardless of policies and hints, as in kube-proxy. It keeps the
// answer for the next frontend of the same port.
func (r *render) answering(f *Frontend) state.SpecRef {
	last := &r.answers[f.Family()]
	if !last.known || last.port != f.Port {
		*last = answers{true, f.Port, state.Answering(r.endpoints(f).Serving)}
	}
	return last.spec
}

// maxComment is IPSET_MAX_COMMENT_SIZE of linux/netfilter/ipset/ip_set.h.
const maxComment = 255

// comment names the Service port, so that the entry explains itself.
func (r *render) comment(f *Frontend) state.SpecRef {
	text := r.view.Key.String()
	if name := r.view.Ports[f.Port].Name; name != "" {
		text += ":" + name
	}
	return state.Intern(state.Spec{Text: text[:min(len(text), maxComment)]})
}

// nodePortNetworks returns the networks of node addresses of a family that serve node
// ports, as ipset takes them. No network lies in another.
func (c *Config) nodePortNetworks(family state.Family) []netip.Prefix {
	var out []netip.Prefix
	for i, p := range c.NodePortAddresses {
		if state.FamilyOf(p.Addr()) == family && !held(p, i, c.NodePortAddresses) {
			out = append(out, state.Halves(p)...)
		}
	}
	if out == nil {
		out = state.Halves(netip.PrefixFrom(family.Unspecified(), 0))
	}
	return out
}

// held reports whether p, which is list[i], lies in a larger network of the list, or
// equals an earlier one.
func held(p netip.Prefix, i int, list []netip.Prefix) bool {
	for j, q := range list {
		if q.Overlaps(p) && (q.Bits() < p.Bits() || q.Bits() == p.Bits() && j < i) {
			return true
		}
	}
	return false
}
