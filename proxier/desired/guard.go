package desired

import (
	"net/netip"
	"slices"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// apiServer names the API server's own Service.
var apiServer = model.Key{Namespace: "default", Name: "kubernetes"}

// guard claims the addresses of API servers before any Service but their own: a
// node that is led elsewhere by an external IP would never hear that the Service
// has gone. Each frontend of the same address and port is lost to it, and no
// ClusterIP may have such an address: all of its ports would be ours to refuse.
// A load balancer that leads to those very API servers is admitted.
type guard struct {
	service   *service          // that it claims as
	endpoints []netip.AddrPort  // of the API server's Service, sorted
	moved     bool              // endpoints are others since protect
	claims    []claim           // in force
	addrs     []netip.Addr      // of claims
	barred    map[*service]bool // Services with a ClusterIP that is barred
}

func newGuard() guard {
	return guard{service: &service{rank: rank{key: apiServer}}, barred: map[*service]bool{}}
}

// barred returns why an address cannot be a ClusterIP on this node, or nothing.
func (t *Table) barred(key model.Key, a netip.Addr) string {
	switch {
	case a == t.facts.NodeIP(a):
		return "this node's own address"
	case key != apiServer && slices.Contains(t.guard.addrs, a):
		return "the address of an API server"
	}
	return ""
}

// serves notes where the API server's Service has its endpoints.
func (g *guard) serves(v model.View) {
	var now []netip.AddrPort
	for _, family := range [...][]model.Endpoints{v.V4, v.V6} {
		for i := range family {
			now = slices.Concat(now, family[i].Cluster, family[i].OnNode)
		}
	}
	slices.SortFunc(now, netip.AddrPort.Compare)
	if now = slices.Compact(now); !slices.Equal(now, g.endpoints) {
		g.endpoints, g.moved = now, true
	}
}

// admit ranks those frontends before the guard by which this node asks API servers
// and that lead to the endpoints of default/kubernetes and nowhere else, as those of
// the load balancer of a control plane do. An endpoint's own address is never lent,
// nor is one that source ranges may keep the node away from.
func (g *guard) admit(protected []netip.AddrPort, v model.View, fs *frontends) {
	for i := range fs.all {
		f := &fs.all[i]
		if f.Proto != state.TCP || f.sourced || f.Reach != LoadBalancer && f.Reach != External ||
			!slices.Contains(protected, f.Addr) || slices.Contains(g.endpoints, f.Addr) || !g.leads(f, v) {
			continue
		}
		for _, mine := range f.claims(nil) {
			if at := slices.Index(fs.claims, mine); at >= 0 {
				fs.claims[at].class = toAPIServers
			}
		}
		f.class = toAPIServers
	}
}

// leads reports whether there are endpoints behind a frontend and each of them is the
// API server's.
func (g *guard) leads(f *Frontend, v model.View) bool {
	family := v.V4
	if f.Addr.Addr().Is6() {
		family = v.V6
	}
	to := &family[f.Port]
	return len(to.Cluster) > 0 && !slices.ContainsFunc(slices.Concat(to.Cluster, to.Local), func(e netip.AddrPort) bool {
		_, found := slices.BinarySearchFunc(g.endpoints, e, netip.AddrPort.Compare)
		return !found
	})
}

// protect has the guard claim what it must, and those Services rendered that win
// or lose something by it, or are told another reason.
func (b *batch) protect() {
	t := b.table
	g := &t.guard
	all := slices.Concat(t.config.Protected, g.endpoints)
	slices.SortFunc(all, netip.AddrPort.Compare)
	all = slices.Compact(all)
	claims := make([]claim, len(all))
	for i, a := range all {
		claims[i] = claim{state.EntryID(state.SetAll, state.TCP, a), ofGuard}
	}
	if slices.Equal(claims, g.claims) && !g.moved {
		return
	}
	g.moved = false
	had := g.claims
	b.reclaim(g.service, had, claims)
	for _, c := range slices.Concat(had, claims) {
		for _, r := range t.rivals[c.id] {
			b.affect(r.service)
		}
		if owner := t.owner(c.id); owner != nil && owner != g.service { // one that is admitted
			b.affect(owner)
		}
	}
	g.claims, g.addrs = claims, nil
	for _, a := range all {
		g.addrs = append(g.addrs, a.Addr())
	}
	for s := range g.barred {
		b.affect(s)
	}
	if slices.ContainsFunc(g.addrs, func(a netip.Addr) bool { return t.shared.Has(state.VIPID(a)) }) {
		b.affectVIPs(g.addrs)
	}
}

// affectVIPs has the Services rendered that have one of the addresses as a
// ClusterIP. It looks at all Services.
func (b *batch) affectVIPs(addrs []netip.Addr) {
	for s := range b.table.services.All() {
		s.objects(func(o state.Object, _ bool) {
			if o.ID.Kind == state.VIP && slices.Contains(addrs, o.ID.Addr()) {
				b.affect(s)
			}
		})
	}
}
