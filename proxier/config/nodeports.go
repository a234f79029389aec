package config

import (
	"fmt"
	"net/netip"
	"slices"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// nodePortWords has the CIDRs of the keywords of nodePortAddresses. Those of primary come from the Node
// object.
var nodePortWords = map[string][]string{
	"primary": {}, "localhost": {"127.0.0.0/8", "::1/128"}, "all": {"0.0.0.0/0", "::/0"},
}

// nodePorts reads nodePortAddresses as kube-proxy 1.37 does: any mixture of
// CIDRs and keywords. A family that has none of them serves on all addresses.
func (l *layers) nodePorts(c *Config) {
	const path = "nodePortAddresses"
	var list []string
	for i, w := range l.docs.Proxy.NodePortAddresses {
		more, isWord := nodePortWords[w]
		_, isPrefix := model.ParsePrefix(w)
		switch {
		case !isWord && !isPrefix:
			l.check(path, fmt.Errorf("%q is not a CIDR such as 192.168.0.0/24, and none of primary, localhost, all", w))
		case !isWord:
			more = []string{w}
		case slices.Contains(l.docs.Proxy.NodePortAddresses[:i], w):
			l.check(path, fmt.Errorf("%s is in it twice", w))
		}
		c.PrimaryNodePorts = c.PrimaryNodePorts || w == "primary"
		list = append(list, more...)
	}
	c.NodePortAddresses, _ = cidrs(list) // the loop above has reported each error
	l.localhost(c)
}

// localhost decides whether loopback addresses serve node ports. They do if nodePortAddresses names
// loopback addresses, as in kube-proxy's nftables mode; a range that only contains them, such as all, is
// not enough. For IPv4, as in mode iptables, iptables.localhostNodePorts true is enough if
// nodePortAddresses contains 127.0.0.0, and false forbids it.
func (l *layers) localhost(c *Config) {
	for _, p := range c.NodePortAddresses {
		if p.Addr().IsLoopback() {
			c.Localhost[state.FamilyOf(p.Addr())] = true
		}
	}
	const path = "iptables.localhostNodePorts"
	switch said := l.docs.Proxy.IPTables.LocalhostNodePorts; {
	case said == nil:
	case !*said && c.Localhost[state.IPv4]:
		c.Localhost[state.IPv4] = false
		l.warn(path, "false keeps node ports off 127.0.0.0/8, which nodePortAddresses names")
	case *said && !c.Localhost[state.IPv4]:
		c.Localhost[state.IPv4] = c.holds127()
		if !c.Localhost[state.IPv4] {
			l.warn(path, "true has no effect: nodePortAddresses holds no address of 127.0.0.0/8")
		}
	}
}

// holds127 reports whether nodePortAddresses contains 127.0.0.0.
func (c *Config) holds127() bool {
	none := !c.PrimaryNodePorts
	for _, p := range c.NodePortAddresses {
		if p.Addr().Is4() {
			none = false
		}
		if p.Contains(netip.AddrFrom4([4]byte{127})) {
			return true
		}
	}
	return none
}
