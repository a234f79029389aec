package desired

import (
	"net/netip"
	"slices"

	"kube-ipvs/proxier/state"
)

// sources adds who may use a load-balancer IP.
func (r *render) sources(f *Frontend, what string) {
	const why = "loadBalancerSourceRanges"
	for _, n := range r.view.SourceRanges {
		if n.Addr().Is4() != f.Addr.Addr().Is4() {
			continue
		}
		for _, half := range state.Halves(n) {
			r.own(state.SourceEntryID(f.Proto, f.Addr, half), state.None, what, why)
		}
	}
	// Where the address is bound on the node, as by keepalived, the node's packets to
	// it come from it.
	ip := f.Addr.Addr()
	if node := r.facts.NodeIP(ip); node.IsValid() && inRanges(r.view.SourceRanges, node) && !inRanges(r.view.SourceRanges, ip) {
		r.own(state.SourceEntryID(f.Proto, f.Addr, netip.PrefixFrom(ip, ip.BitLen())), state.None, what, why, "they have the node, which may dial from this address itself")
	}
	r.enter(f, state.SetSourceFiltered, 0, what, why)
}

func inRanges(ranges []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(n netip.Prefix) bool { return n.Contains(ip) })
}
