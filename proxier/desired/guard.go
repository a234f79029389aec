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
type guard struct {
	service   *service // that it claims as
	endpoints []netip.AddrPort
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
	g.endpoints = nil
	for _, family := range [...][]model.Endpoints{v.V4, v.V6} {
		for i := range family {
			g.endpoints = slices.Concat(g.endpoints, family[i].Cluster, family[i].OnNode)
		}
	}
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
	if slices.Equal(claims, g.claims) {
		return
	}
	had := g.claims
	b.reclaim(g.service, had, claims)
	for _, c := range slices.Concat(had, claims) {
		for _, r := range t.rivals[c.id] {
			b.affect(r.service)
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
