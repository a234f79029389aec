package cluster

import (
	"cmp"

	"kube-ipvs/proxier/state"
)

// mostAddresses is how many addresses of a family a start adds to kube-ipvs0. For each new
// address the kernel looks through all others, so that twice as many take four times as long
// or more. In the lab 10,000 took half a second of a cold start of 7 seconds, and with a
// program that does nothing else 40,000 took sixty times as long as 10,000.
const mostAddresses = 10_000

// bind decides whether ClusterIPs become addresses of kube-ipvs0. They become routes alone if
// more than mostAddresses would have to be added. Existing addresses cost nothing and do not
// count, so that a node keeps its binding over a restart. bind decides once, when the source
// has delivered everything; call it before all is rendered, with the objects in the kernel.
func (c *Cluster) bind(actual *state.State) {
	if c.settings.bound || !c.source.synced {
		return
	}
	c.settings.bound = true
	if c.settings.Desired.NoDevice {
		return
	}
	missing := c.unbound(actual)
	most := cmp.Or(c.settings.MostAddresses, mostAddresses)
	if max(missing[state.IPv4], missing[state.IPv6]) <= most {
		return
	}
	c.log.Warn("more ClusterIPs than the kernel takes as addresses of kube-ipvs0 in good time: they become the node's own by routes alone, until the next start",
		"IPv4", missing[state.IPv4], "IPv6", missing[state.IPv6], "most", most)
	c.settings.routes = true
	if c.follow() {
		c.model.SetAllDirty()
	}
}

// unbound counts the ClusterIPs, IPv4 and IPv6, that are not addresses of kube-ipvs0.
func (c *Cluster) unbound(actual *state.State) (n [2]int) {
	for _, key := range c.model.Keys() {
		s, ok := c.model.Service(key)
		if !ok {
			continue
		}
		for _, ip := range s.ClusterIPs {
			if spec, there := actual.Get(state.VIPID(ip)); !there || spec.Value().Bare {
				n[state.FamilyOf(ip)]++
			}
		}
	}
	return n
}
