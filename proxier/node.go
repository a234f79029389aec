package proxier

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// nodeObject is what the Node object says that is programmed.
type nodeObject struct {
	podCIDRs [2]netip.Prefix
	ips      [2]netip.Addr // IPv4, IPv6
	bad      []string      // what is wrong with podCIDRs that are left out
}

func (n *nodeObject) read(node *corev1.Node, c Config) {
	*n = nodeObject{}
	cidrs := node.Spec.PodCIDRs
	if len(cidrs) == 0 && node.Spec.PodCIDR != "" {
		cidrs = []string{node.Spec.PodCIDR}
	}
	for _, s := range cidrs {
		p, ok := model.ParsePrefix(s)
		if !ok {
			n.bad = append(n.bad, fmt.Sprintf("%q is no CIDR", s))
			continue
		}
		if image := c.Desired.Overlap(p); image != "" {
			n.bad = append(n.bad, fmt.Sprintf("%s overlaps %s, and pods in that cannot be endpoints", p, image))
			continue
		}
		if at := &n.podCIDRs[number(p.Addr())]; !at.IsValid() {
			*at = p
		}
	}
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP} {
		for _, a := range node.Status.Addresses {
			ip, ok := model.ParseAddr(a.Address)
			if !ok || a.Type != kind {
				continue
			}
			if at := &n.ips[number(ip)]; !at.IsValid() {
				*at = ip
			}
		}
	}
}

// number returns 0 for IPv4 and 1 for IPv6.
func number(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// problems says what the Node object lacks that the configuration counts on, and
// what of the node's addresses is in the way of it.
func (n *nodeObject) problems(c Config, f state.Facts) []model.Problem {
	object := "Node " + c.Desired.NodeName
	var out []model.Problem
	for _, s := range n.bad {
		out = append(out, model.Problem{Object: object, Field: "spec.podCIDRs", Message: s + "; it is left out"})
	}
	for _, a := range f.InImages {
		out = append(out, model.Problem{Object: object,
			Message: fmt.Sprintf("its address %s lies in %s, and packets from and to that are dropped: take it away, or choose another prefix", a, c.Desired.Overlap(a))})
	}
	if c.NodeCIDR && n.podCIDRs == [2]netip.Prefix{} {
		out = append(out, model.Problem{Object: object, Field: "spec.podCIDRs",
			Message: "it has none, and detectLocalMode is NodeCIDR: until it has, pods are not told from others, and no traffic to ClusterIPs is masqueraded"})
	}
	return out
}

// reconfigure takes what Configure was given.
func (p *Proxier) reconfigure(c Config) {
	c.Desired.IPv6, c.Desired.Protected, c.Desired.Missing = p.base.IPv6, p.base.Protected, p.base.Missing
	c.Desired.Localhost = p.base.Localhost // a change needs a start: the relay has its listeners for life
	p.base, p.rebased = c.Desired, true
	p.config.PrimaryNodePorts = c.PrimaryNodePorts
	p.ledger.SetDrainTimeout(c.DrainTimeout)
	p.config.AuditPeriod, p.config.DrainTimeout, p.config.MinSyncPeriod = c.AuditPeriod, c.DrainTimeout, c.MinSyncPeriod
}

// follow follows the configuration, the Node object and the node, and reports whether
// they have changed, so that everything is to be rendered anew. A node whose IPv6 is
// switched off is an IPv4 node until it is switched on.
func (p *Proxier) follow() bool {
	c, have := p.base, &p.config.Desired
	c.IPv6 = c.IPv6 && !p.facts.NoIPv6
	c.NoDevice = c.NoDevice || p.routes || p.facts.NoDevice
	c.TCPBeLiberal = c.TCPBeLiberal || p.facts.TCPBeLiberal
	if p.config.NodeCIDR {
		c.PodCIDRs = p.node.podCIDRs
	}
	if p.config.PrimaryNodePorts {
		c.NodePortAddresses = append(slices.Clone(c.NodePortAddresses), primary(p.config.NodeIPs, p.node.ips, p.facts)...)
	}
	if c.IPv6 != have.IPv6 {
		p.logIPv6(c.IPv6)
	}
	same := c.IPv6 == have.IPv6 && c.NoDevice == have.NoDevice && c.TCPBeLiberal == have.TCPBeLiberal && c.PodCIDRs == have.PodCIDRs
	if !p.rebased && same && slices.Equal(c.NodePortAddresses, have.NodePortAddresses) {
		return false
	}
	p.config.Desired, p.rebased = c, false
	p.table.SetConfig(c)
	p.expect()
	return true
}

func (p *Proxier) logIPv6(on bool) {
	if on {
		p.log.Info("IPv6 is switched on again: Services are served over it")
		return
	}
	p.log.Warn("IPv6 is switched off on this node: Services are served over IPv4 alone")
}

// expect tells the kernel what the rules are to be.
func (p *Proxier) expect() {
	c := p.config.Desired
	p.kernel.Expect([2]string{c.Rules(state.IPv4), c.Rules(state.IPv6)})
}

// primary returns the node's own address of each family, but for those of
// localhost: the one given, else what the Node object says, else the source of
// its default route.
func primary(given []netip.Addr, ips [2]netip.Addr, f state.Facts) []netip.Prefix {
	var out []netip.Prefix
	for i, family := range []netip.Addr{state.IPv4, state.IPv6} {
		ip := state.Facts{NodeIPs: given}.NodeIP(family)
		if !ip.IsValid() {
			ip = ips[i]
		}
		if !ip.IsValid() {
			ip = f.NodeIP(family)
		}
		if ip.IsValid() && !ip.IsLoopback() {
			out = append(out, netip.PrefixFrom(ip, ip.BitLen()))
		}
	}
	return out
}
