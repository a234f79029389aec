package netutil

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// DefaultSource returns the node's own address of a family, 4 or 6, as the
// kernel would choose it for packets to strangers, and the MTU in bytes of the
// link that they leave by. The address is invalid, without an error, when the
// node has none of that family.
//
// It is what the default route of the lowest metric in table main says, else
// the first global address of that route's link. Without these it is the first
// global address of any link that is up: rather one in a subnet than a host
// address, and rather on another link than on lo. Dummy devices do not count:
// their addresses are virtual.
func (l *Links) DefaultSource(family int) (addr netip.Addr, mtu uint32, err error) {
	af := uint8(unix.AF_INET)
	if family == 6 {
		af = unix.AF_INET6
	}
	devices, err := l.devices()
	if err != nil {
		return netip.Addr{}, 0, err
	}
	addrs, err := l.Addresses()
	if err != nil {
		return netip.Addr{}, 0, err
	}
	routes, err := l.routes(af, unix.RT_TABLE_MAIN)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("list routes of IPv%d: %w", family, err)
	}
	addr, mtu = chooseSource(af == unix.AF_INET, devices, addrs, routes)
	return addr, mtu, nil
}

// chooseSource makes the choice that DefaultSource describes.
func chooseSource(v4 bool, devices []device, addrs []Address, routes []route) (netip.Addr, uint32) {
	links := map[int]device{}
	for _, d := range devices {
		links[d.index] = d
	}
	var global []Address
	for _, a := range addrs {
		if a.Prefix.Addr().Is4() == v4 && a.isSource() && links[a.Link].carries() {
			global = append(global, a)
		}
	}
	exit, ok := defaultRoute(routes)
	if ok && exit.Source.IsValid() {
		return exit.Source, links[exit.Link].mtu
	}
	best, rank := Address{}, 0
	for _, a := range global {
		if r := a.rank(links[a.Link], ok && a.Link == exit.Link); r > rank {
			best, rank = a, r
		}
	}
	if rank == 0 {
		return netip.Addr{}, 0
	}
	if ok {
		return best.Prefix.Addr(), links[exit.Link].mtu
	}
	return best.Prefix.Addr(), links[best.Link].mtu
}

// rank orders addresses that may all be the node's; the highest is taken, the
// first among equals.
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

// isSource reports whether the kernel would take the address unasked. The bit
// of temporary IPv6 addresses is that of secondary IPv4 ones.
func (a Address) isSource() bool {
	const no = unix.IFA_F_TEMPORARY | unix.IFA_F_DEPRECATED
	return a.Usable() && a.Flags&no == 0 && a.Scope == unix.RT_SCOPE_UNIVERSE && a.Prefix.Addr().IsGlobalUnicast()
}

// carries reports whether addresses of the link may be the node's.
func (d device) carries() bool { return d.flags&unix.IFF_UP != 0 && d.kind != "dummy" }

// defaultRoute returns the usable default route of the lowest metric.
func defaultRoute(routes []route) (route, bool) {
	var best route
	found := false
	for _, r := range routes {
		if r.Dst.Bits() != 0 || r.typ != unix.RTN_UNICAST || r.Link == 0 || r.dead {
			continue
		}
		if !found || r.Metric < best.Metric {
			best, found = r, true
		}
	}
	return best, found
}
