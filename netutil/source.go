package netutil

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil/ipfamily"
)

// DefaultSource returns the node's own address of a family, as the kernel
// chooses it for packets to strangers, and the MTU in bytes of the
// link that they leave by. The address is invalid, without an error, when the
// node has none of that family. vips is the index of the link whose addresses are
// not the node's own, 0 for none.
//
// DefaultSource asks the kernel by which link and from which address it would send now, which
// takes account of policy routing, the gateway's subnet, preferred sources and metrics. It does
// not take an address of vips, which the kernel chooses for want of another, or a temporary
// one, which changes. Then, and without a route, it takes the first global address of the link
// by which packets leave, or of any link that is up: it prefers one in a subnet to a host
// address, and one of another link to one of lo. It ignores dummy devices, whose addresses are
// virtual.
func (l *Links) DefaultSource(family Family, vips int) (addr netip.Addr, mtu uint32, err error) {
	devices, err := l.devices()
	if err != nil {
		return netip.Addr{}, 0, err
	}
	addrs, err := l.Addresses()
	if err != nil {
		return netip.Addr{}, 0, err
	}
	exit, err := l.wayOut(family)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("look up the way out of %s: %w", family, err)
	}
	addr, mtu = chooseSource(family, devices, addrs, exit, vips)
	return addr, mtu, nil
}

// outside are destinations that a node only reaches by its way out: of documentation
// (RFC 5737, RFC 3849), and, where routers throw these away or know all networks by
// name, a root name server. Nothing is ever sent there.
var outside = [...][2]netip.Addr{
	IPv4: {netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("198.41.0.4")},
	IPv6: {netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:503:ba3e::2:30")},
}

// wayOut asks the kernel how it would send to strangers. Without a way the route
// has no link.
func (l *Links) wayOut(family Family) (exit route, err error) {
	for _, to := range outside[family] {
		if exit, err = l.lookup(to); err != nil || exit.Link != 0 {
			return exit, err
		}
	}
	return route{}, nil
}

// noWay are the kernel's answers where there is no route, where one says that there
// is none (unreachable, prohibit, blackhole), and where the family is missing.
var noWay = []error{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.EOPNOTSUPP, unix.EAFNOSUPPORT}

// lookup asks the kernel for the route of a packet of this node to an address. The
// answer has the source that it would get, and no link when there is no way.
func (l *Links) lookup(to netip.Addr) (found route, err error) {
	var h [unix.SizeofRtMsg]byte
	h[0], h[1] = ipfamily.Of(to).Inet(), uint8(to.BitLen())
	var b Batch
	b.Begin(unix.RTM_GETROUTE, 0, h[:]...)
	b.Attr(unix.RTA_DST, to.AsSlice()...)
	err = l.conn.Get(&b, func(_ uint16, data []byte) error {
		found, _ = parseRoute(data)
		return nil
	})
	if slices.ContainsFunc(noWay, func(e error) bool { return errors.Is(err, e) }) {
		return route{}, nil
	}
	return found, err
}

// chooseSource makes the choice that DefaultSource describes.
func chooseSource(family Family, devices []device, addrs []Address, exit route, vips int) (netip.Addr, uint32) {
	links := map[int]device{}
	for _, d := range devices {
		links[d.index] = d
	}
	refused := slices.ContainsFunc(addrs, func(a Address) bool {
		return a.Prefix.Addr() == exit.Source && (a.Link == vips || a.isTemporary())
	})
	if exit.Source.IsValid() && !refused {
		return exit.Source, links[exit.Link].mtu
	}
	best, rank := Address{}, 0
	for _, a := range addrs {
		if ipfamily.Of(a.Prefix.Addr()) != family || a.Link == vips || !a.isSource() || !links[a.Link].carries() {
			continue
		}
		if r := a.rank(links[a.Link], a.Link == exit.Link); r > rank {
			best, rank = a, r
		}
	}
	switch {
	case rank == 0:
		return netip.Addr{}, 0
	case exit.Link != 0:
		return best.Prefix.Addr(), links[exit.Link].mtu
	}
	return best.Prefix.Addr(), links[best.Link].mtu
}

// rank orders possible addresses of the node; DefaultSource takes the first of the highest rank.
func (a Address) rank(on device, exit bool) int {
	switch {
	case exit:
		return 4
	case on.flags&unix.IFF_LOOPBACK != 0:
		return 1
	case a.Prefix.IsSingleIP():
		return 2
	}
	return 3
}

// isTemporary reports whether the address is one that IPv6 makes for privacy. The
// bit is that of secondary IPv4 addresses.
func (a Address) isTemporary() bool {
	return a.Flags&unix.IFA_F_TEMPORARY != 0 && a.Prefix.Addr().Is6()
}

// isSource reports whether the kernel would take the address unasked.
func (a Address) isSource() bool {
	const no = unix.IFA_F_SECONDARY | unix.IFA_F_DEPRECATED // and IFA_F_TEMPORARY, the same bit
	return a.Usable() && a.Flags&no == 0 && a.Scope == unix.RT_SCOPE_UNIVERSE && a.Prefix.Addr().IsGlobalUnicast()
}

// carries reports whether addresses of the link may be the node's.
func (d device) carries() bool { return d.flags&unix.IFF_UP != 0 && d.kind != "dummy" }
