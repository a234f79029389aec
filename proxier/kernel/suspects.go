package kernel

import (
	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// Suspects returns the objects that may be missing or wrong after changes of links,
// addresses and routes. It returns each lost address as a VIP, also one that is none.
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
