package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	moby "github.com/moby/ipvs"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/state"
)

// device has the present state of kube-ipvs0, and the addresses of the node.
type device struct {
	exists bool
	index  int
	alias  string
	hosts  []netip.Addr        // its /32 and /128 addresses
	node   map[netip.Addr]bool // the addresses of other links
}

func (v *View) readDevice() (device, error) {
	var d device
	var err error
	if d.index, d.alias, d.exists, err = v.links.FindDummy(LinkName); err != nil {
		return d, err
	}
	addrs, err := v.links.Addresses()
	if err != nil {
		return d, err
	}
	d.node = map[netip.Addr]bool{}
	for _, a := range addrs {
		ip := a.Prefix.Addr()
		switch {
		case !d.exists || a.Link != d.index:
			d.node[ip] = true
		case a.Prefix.IsSingleIP():
			d.hosts = append(d.hosts, ip)
		}
	}
	return d, nil
}

// adoption says which objects of kube-proxy are taken over. The zero value takes none.
type adoption struct {
	device  bool // kube-ipvs0 and its addresses are taken over
	exclude []netip.Prefix
	hosts   map[netip.Addr]bool // the device's addresses
	ports   nodePorts
	stands  bool // objects of kube-proxy exist
}

// adoption finds the objects to take over.
func (v *View) adoption(ctx context.Context) (adoption, error) {
	if !v.options.TakeOver {
		return adoption{}, nil
	}
	found, err := v.findKubeProxy(ctx)
	if err != nil {
		return adoption{}, err
	}
	d, err := v.readDevice()
	if err != nil {
		return adoption{}, err
	}
	a := adoption{exclude: v.options.ExcludeCIDRs, hosts: map[netip.Addr]bool{}, stands: found.Any()}
	// kube-proxy gives the device no alias: a device with another alias is another program's.
	a.device = d.exists && (d.alias == "" || d.alias == linkAlias || d.alias == netutil.Unfinished)
	if a.device {
		for _, ip := range d.hosts {
			a.hosts[ip] = true
		}
	}
	a.ports, err = v.nodePorts()
	return a, err
}

// address reports whether an address on the device is taken over.
func (a adoption) address(ip netip.Addr) bool { return a.device && a.hosts[ip] && !a.excludes(ip) }

// service reports whether a virtual server without FlagOurs is taken over.
func (a adoption) service(s *moby.Service) bool {
	key := ipvs.KeyOf(s)
	return key.FWMark == 0 && !a.excludes(key.Addr.Addr()) && (a.hosts[key.Addr.Addr()] || a.ports.has(s))
}

func (a adoption) excludes(ip netip.Addr) bool {
	for _, p := range a.exclude {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// adoptLink gives the device the alias of kube-ipvs if it is taken over, or if a start was
// killed before it could.
func (l *Linux) adoptLink(index int, alias string) error {
	if alias != netutil.Unfinished && (!l.options.TakeOver || alias != "") {
		return nil // a device of another program serves too
	}
	return l.links.SetAlias(index, linkAlias)
}

// nodePorts has the node ports in kube-proxy's sets, and the addresses of the node.
type nodePorts struct {
	ports map[nodePort]bool
	node  map[netip.Addr]bool
}

type nodePort struct {
	family netutil.Family
	proto  uint16
	port   uint16
}

// has reports whether a virtual server is one of kube-proxy's node ports.
func (n nodePorts) has(s *moby.Service) bool {
	key := ipvs.KeyOf(s)
	return key.FWMark == 0 && n.node[key.Addr.Addr()] && n.ports[nodePort{state.FamilyOf(key.Addr.Addr()), uint16(key.Proto), key.Addr.Port()}]
}

func (v *View) nodePorts() (nodePorts, error) {
	n := nodePorts{ports: map[nodePort]bool{}}
	sets, err := setsOfKubeProxy(v.ipset)
	if err != nil {
		return n, err
	}
	kinds := map[string]nodePort{}
	for _, family := range state.Families(true) {
		kinds[kubeProxySet("NODE-PORT-TCP", family)] = nodePort{family: family, proto: unix.IPPROTO_TCP}
		kinds[kubeProxySet("NODE-PORT-UDP", family)] = nodePort{family: family, proto: unix.IPPROTO_UDP}
		kinds[kubeProxySet("NODE-PORT-SCTP-HASH", family)] = nodePort{family: family, proto: unix.IPPROTO_SCTP}
	}
	for _, s := range sets {
		kind, ok := kinds[s.Name]
		if !ok {
			continue
		}
		if s.Type == ipset.HashIPPort {
			err = v.ipset.List(s.Name, func(e ipset.Entry) { kind.port = e.Port; n.ports[kind] = true })
		} else {
			err = bitmapPorts(s.Name, func(port uint16) { kind.port = port; n.ports[kind] = true })
		}
		if err != nil && !errors.Is(err, ipset.ErrNotFound) && !errors.Is(err, unix.ENOENT) {
			return n, err
		}
	}
	if len(n.ports) == 0 {
		return n, nil
	}
	d, err := v.readDevice()
	n.node = d.node
	return n, err
}

// bitmapPorts calls each with every port in a set of type bitmap:port, which package ipset
// does not know.
func bitmapPorts(set string, each func(uint16)) error {
	c, err := netutil.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	var b netutil.Batch
	b.Begin(uint16(unix.NFNL_SUBSYS_IPSET<<8|nl.IPSET_CMD_LIST), 0, unix.AF_INET, nl.NFNETLINK_V0, 0, 0)
	b.U8(nl.IPSET_ATTR_PROTOCOL, nl.IPSET_PROTOCOL)
	b.String(nl.IPSET_ATTR_SETNAME, set)
	err = c.Dump(&b, func(_ uint16, p []byte) error {
		const header = 4 // struct nfgenmsg
		if len(p) < header {
			return nil
		}
		walk(p[header:], nl.IPSET_ATTR_ADT, func(entries []byte) {
			walk(entries, nl.IPSET_ATTR_DATA, func(entry []byte) {
				walk(entry, nl.IPSET_ATTR_PORT, func(port []byte) {
					if len(port) == 2 {
						each(uint16(port[0])<<8 | uint16(port[1]))
					}
				})
			})
		})
		return nil
	})
	if err != nil {
		return fmt.Errorf("list set %s: %w", set, err)
	}
	return nil
}

// walk calls each with the data of every attribute of a type.
func walk(p []byte, typ uint16, each func([]byte)) {
	for a, rest, ok := netutil.NextAttr(p); ok; a, rest, ok = netutil.NextAttr(rest) {
		if a.Type == typ {
			each(a.Data)
		}
	}
}
