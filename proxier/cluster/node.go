package cluster

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// nodeObject has the fields of the Node object that rendering uses.
type nodeObject struct {
	podCIDRs [2]netip.Prefix
	ips      [2]netip.Addr // IPv4, IPv6
	bad      []string      // the faults of podCIDRs that are left out
}

func (n *nodeObject) read(node *corev1.Node, c *Config) {
	*n = nodeObject{}
	cidrs := node.Spec.PodCIDRs
	if len(cidrs) == 0 && node.Spec.PodCIDR != "" {
		cidrs = []string{node.Spec.PodCIDR}
	}
	for _, s := range cidrs {
		p, ok := model.ParsePrefix(s)
		if !ok {
			n.bad = append(n.bad, fmt.Sprintf("%q is not a CIDR", s))
			continue
		}
		if image := c.Desired.Overlap(p); image != "" {
			n.bad = append(n.bad, fmt.Sprintf("%s overlaps %s: kube-ipvs cannot use pods in it as endpoints", p, image))
			continue
		}
		if at := &n.podCIDRs[state.FamilyOf(p.Addr())]; !at.IsValid() {
			*at = p
		}
	}
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP} {
		for _, a := range node.Status.Addresses {
			ip, ok := model.ParseAddr(a.Address)
			if !ok || a.Type != kind {
				continue
			}
			if at := &n.ips[state.FamilyOf(ip)]; !at.IsValid() {
				*at = ip
			}
		}
	}
}

// problems returns the faults of podCIDRs, and the node's addresses that lie in prefixes of
// mapped addresses.
func (n *nodeObject) problems(c *Config, f state.Facts) []model.Problem {
	object := "Node " + c.Desired.NodeName
	var out []model.Problem
	for _, s := range n.bad {
		out = append(out, model.Problem{Object: object, Field: "spec.podCIDRs", Message: s + "; it is left out"})
	}
	for _, a := range f.InImages {
		out = append(out, model.Problem{Object: object,
			Message: fmt.Sprintf("its address %s lies in %s: the node drops packets from and to this prefix. Remove the address, or choose another prefix", a, c.Desired.Overlap(a))})
	}
	if c.NodeCIDR && n.podCIDRs == [2]netip.Prefix{} {
		out = append(out, model.Problem{Object: object, Field: "spec.podCIDRs",
			Message: "the Node has no podCIDRs, and detectLocalMode is NodeCIDR: kube-ipvs cannot tell pods from other clients, and masquerades no traffic to ClusterIPs"})
	}
	return out
}

// Configure takes another configuration: PrimaryNodePorts, and the settings of Desired that
// may change while the process lives.
func (c *Cluster) Configure(to Config) {
	d := to.Desired
	s := &c.settings
	d.IPv6, d.Protected, d.Missing = s.Desired.IPv6, s.Desired.Protected, s.Desired.Missing
	d.Rising, d.Ejected = s.Desired.Rising, s.Desired.Ejected
	d.Localhost = s.Desired.Localhost // a change needs a restart: the relay keeps its listeners
	s.Desired, s.PrimaryNodePorts, s.changed = d, to.PrimaryNodePorts, true
}

// settings are the configured settings, and what completes them.
type settings struct {
	Config
	now     desired.Config // Config.Desired, completed
	changed bool           // Config has changed since now was completed
	bound   bool           // bind has decided
	routes  bool           // bind has decided for routes alone
	node    nodeObject
}

// complete completes the configuration by the Node object and the facts, and reports whether
// it has changed. While IPv6 is off, the node is an IPv4 node.
func (s *settings) complete(f state.Facts) bool {
	now, have := s.Desired, &s.now
	now.IPv6 = now.IPv6 && !f.NoIPv6
	now.NoDevice = now.NoDevice || s.routes || f.NoDevice
	now.TCPBeLiberal = now.TCPBeLiberal || f.TCPBeLiberal
	if s.NodeCIDR {
		now.PodCIDRs = s.node.podCIDRs
	}
	if s.PrimaryNodePorts {
		now.NodePortAddresses = append(slices.Clone(now.NodePortAddresses), primary(s.NodeIPs, s.node.ips, f)...)
	}
	same := now.IPv6 == have.IPv6 && now.NoDevice == have.NoDevice && now.TCPBeLiberal == have.TCPBeLiberal && now.PodCIDRs == have.PodCIDRs
	if !s.changed && same && slices.Equal(now.NodePortAddresses, have.NodePortAddresses) {
		return false
	}
	s.now, s.changed = now, false
	return true
}

// follow applies the configuration, the Node object and the facts, and reports whether the
// caller must render everything anew.
func (c *Cluster) follow() bool {
	had := c.settings.now.IPv6
	if !c.settings.complete(c.facts.now) {
		return false
	}
	if now := c.settings.now.IPv6; now != had {
		c.logIPv6(now)
	}
	c.table.SetConfig(c.settings.now)
	c.expect()
	return true
}

func (c *Cluster) logIPv6(on bool) {
	if on {
		c.log.Info("IPv6 is switched on again: Services are served over it")
		return
	}
	c.log.Warn("IPv6 is switched off on this node: Services are served over IPv4 alone")
}

// expect gives the kernel the desired rules.
func (c *Cluster) expect() {
	d := &c.settings.now
	c.kernel.Expect([2]string{d.Rules(state.IPv4), d.Rules(state.IPv6)})
}

// primary returns the node's own address of each family, without loopback addresses: the
// configured one, or else that of the Node object, or else the source of the default route.
func primary(given []netip.Addr, ips [2]netip.Addr, f state.Facts) []netip.Prefix {
	var out []netip.Prefix
	for _, family := range state.Families(true) {
		ip := state.Facts{NodeIPs: given}.NodeIP(family)
		if !ip.IsValid() {
			ip = ips[family]
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
