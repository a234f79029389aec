package kernel

import (
	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// Suspects names what may be gone, or not as it was, after changes to links,
// addresses and routes. An address that is none of the node's VIPs is named as
// one all the same.
func Suspects(c netutil.Changes) []state.ID {
	var out []state.ID
	if c.Device {
		out = append(out, state.LinkID())
	}
	for _, p := range c.Lost {
		if p.IsSingleIP() {
			out = append(out, state.VIPID(p.Addr()))
		} else {
			out = append(out, state.RouteID(p))
		}
	}
	return out
}
