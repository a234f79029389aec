package desired

import (
	"net/netip"
	"slices"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// apiServer names the API server's own Service.
var apiServer = model.Key{Namespace: "default", Name: "kubernetes"}

// guard claims the addresses of API servers before any Service but default/kubernetes: if
// an external IP led the node elsewhere, the node would never hear that the Service has
// gone. Each other frontend with the same address and port loses, and no ClusterIP may be
// such an address, since kube-ipvs would refuse all other ports of it. A load balancer
// that leads to these API servers alone is admitted.
type guard struct {
	service   *service          // the claimant
	endpoints []netip.AddrPort  // endpoints of default/kubernetes, sorted
	moved     bool              // endpoints have changed since protect
	claims    []claim           // in force
	addrs     []netip.Addr      // their addresses
	barred    map[*service]bool // Services with a barred ClusterIP
}

func newGuard() guard {
	return guard{service: &service{rank: rank{key: apiServer}}, barred: map[*service]bool{}}
}

// barred returns why an address cannot be a ClusterIP on this node; "": it can.
func (t *Table) barred(key model.Key, a netip.Addr) string {
	switch {
	case a == t.facts.NodeIP(state.FamilyOf(a)):
		return "this node's own address"
	case key != apiServer && slices.Contains(t.guard.addrs, a):
		return "the address of an API server"
	}
	return ""
}

// serves stores the endpoints of default/kubernetes.
func (g *guard) serves(v model.View) {
	var now []netip.AddrPort
	for _, family := range v.Endpoints {
		for i := range family {
			now = slices.Concat(now, family[i].Cluster, family[i].OnNode)
		}
	}
	slices.SortFunc(now, netip.AddrPort.Compare)
	if now = slices.Compact(now); !slices.Equal(now, g.endpoints) {
		g.endpoints, g.moved = now, true
	}
}

// admit ranks frontends before the guard that are the load balancer of a control plane:
// this node asks API servers by them, and they lead to endpoints of default/kubernetes
// only. It admits no frontend at an endpoint's own address, and none with source ranges,
// which may keep the node away.
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

// leads reports whether a frontend has endpoints, and all are endpoints of default/kubernetes.
func (g *guard) leads(f *Frontend, v model.View) bool {
	to := &v.Endpoints[f.Family()][f.Port]
	return len(to.Cluster) > 0 && !slices.ContainsFunc(slices.Concat(to.Cluster, to.Local), func(e netip.AddrPort) bool {
		_, found := slices.BinarySearchFunc(g.endpoints, e, netip.AddrPort.Compare)
		return !found
	})
}

// protect renews the guard's claims, and queues the Services that win or lose by it, or
// lose for another reason.
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
		if owner := t.owner(c.id); owner != nil && owner != g.service { // admitted
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

// affectVIPs queues the Services with one of the addresses as a ClusterIP. It looks at
// all Services.
func (b *batch) affectVIPs(addrs []netip.Addr) {
	for s := range b.table.services.All() {
		s.objects(func(o state.Object, _ bool) {
			if o.ID.Kind == state.VIP && slices.Contains(addrs, o.ID.Addr()) {
				b.affect(s)
			}
		})
	}
}
