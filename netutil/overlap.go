package netutil

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil/ipfamily"
)

// Users returns the users of addresses of p on this node, one line each: addresses of links,
// and routes of tables main and local. It ignores routes of kube-ipvs, and routes so short that
// they mean "everything else".
func (l *Links) Users(p netip.Prefix) ([]string, error) {
	addrs, err := l.Addresses()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, a := range addrs {
		if p.Contains(a.Prefix.Addr()) {
			out = append(out, fmt.Sprintf("address %s", a.Prefix))
		}
	}
	for _, table := range []uint8{unix.RT_TABLE_MAIN, unix.RT_TABLE_LOCAL} {
		routes, err := l.routes(ipfamily.Of(p.Addr()), table)
		if err != nil {
			return nil, fmt.Errorf("list routes of table %d: %w", table, err)
		}
		for _, r := range routes {
			if r.uses(p) {
				out = append(out, fmt.Sprintf("route %s in table %d", r.Dst, table))
			}
		}
	}
	return out, nil
}

// uses reports whether r is another program's route to addresses of p. Broadcast and
// multicast routes come with the kernel.
func (r route) uses(p netip.Prefix) bool {
	return r.Protocol != RouteProtocol && r.Dst.Bits() > 1 && r.Dst.Overlaps(p) &&
		(r.typ == unix.RTN_UNICAST || r.typ == unix.RTN_LOCAL) && !r.Dst.Addr().IsMulticast()
}
