package cluster

import (
	"cmp"

	"kube-ipvs/proxier/state"
)

// mostAddresses is how many addresses of a family a start adds to kube-ipvs0. For each
// the kernel looks through those that are there, so that twice as many take more than
// four times as long: in the lab half a second of a cold start of 7 with 10,000, and
// 40,000 took sixty times as long as 10,000, with a program that does nothing else.
const mostAddresses = 10_000

// Bind decides, once and when all is known, whether ClusterIPs become addresses of
// kube-ipvs0: not if more than mostAddresses had to be added. Those that are there cost
// nothing and count for nothing, so that a node that has come to many while it ran
// keeps them over a restart, and one that was started with routes keeps these. It is to be
// called when everything is about to be rendered, with what the kernel holds.
func (c *Cluster) Bind(actual *state.State) {
	if c.bound || !c.synced {
		return
	}
	c.bound = true
	if c.base.NoDevice {
		return
	}
	missing := c.unbound(actual)
	most := cmp.Or(c.config.MostAddresses, mostAddresses)
	if max(missing[0], missing[1]) <= most {
		return
	}
	c.log.Warn("more ClusterIPs than the kernel takes as addresses of kube-ipvs0 in good time: they become the node's own by routes alone, until the next start",
		"IPv4", missing[0], "IPv6", missing[1], "most", most)
	c.routes = true
	if c.follow() {
		c.model.SetAllDirty()
	}
}

// unbound counts the ClusterIPs, IPv4 and IPv6, that are no addresses of kube-ipvs0.
func (c *Cluster) unbound(actual *state.State) (n [2]int) {
	for _, key := range c.model.Keys() {
		s, ok := c.model.Service(key)
		if !ok {
			continue
		}
		for _, ip := range s.ClusterIPs {
			if spec, there := actual.Get(state.VIPID(ip)); !there || spec.Value().Bare {
				n[number(ip)]++
			}
		}
	}
	return n
}
