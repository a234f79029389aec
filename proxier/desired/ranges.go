package desired

import (
	"net/netip"
	"slices"

	"kube-ipvs/proxier/state"
)

// sources adds the entries of the clients that may use a load-balancer IP.
func (r *render) sources(f *Frontend, what string) {
	const why = "loadBalancerSourceRanges"
	for _, n := range r.view.SourceRanges {
		if state.FamilyOf(n.Addr()) != f.Family() {
			continue
		}
		for _, half := range state.Halves(n) {
			r.own(state.SourceEntryID(f.Proto, f.Addr, half), state.None, what, why)
		}
	}
	// If the node has bound the address, as with keepalived, the node's packets to the
	// address come from it.
	ip := f.Addr.Addr()
	if node := r.facts.NodeIP(state.FamilyOf(ip)); node.IsValid() && inRanges(r.view.SourceRanges, node) && !inRanges(r.view.SourceRanges, ip) {
		r.own(state.SourceEntryID(f.Proto, f.Addr, netip.PrefixFrom(ip, ip.BitLen())), state.None, what, why, "the ranges contain the node, which may dial from this address")
	}
	r.enter(f, state.SetSourceFiltered, 0, what, why)
}

func inRanges(ranges []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(n netip.Prefix) bool { return n.Contains(ip) })
}
