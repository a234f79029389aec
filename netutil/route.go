package netutil

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil/ipfamily"
)

// RouteProtocol is the rtm_protocol of the routes of kube-ipvs, which marks them as its own. The
// number is free in linux/rtnetlink.h and in the tables of iproute2.
const RouteProtocol = 77

// loopback is the index of lo, which is the same in every network namespace:
// LOOPBACK_IFINDEX of the kernel's net/flow.h.
const loopback = 1

// Binding says how a ClusterIP becomes the node's own.
type Binding string

// The bindings.
const (
	// BindAddress puts it on kube-ipvs0, as kube-proxy does, beside its local route.
	// What the kernel takes for an address grows with the number of those that are there.
	BindAddress Binding = "address"
	// BindRoute makes a local route of it, through lo, and no address.
	BindRoute Binding = "route"
)

// LocalRoute is a route of type local in table local.
type LocalRoute struct {
	Dst       netip.Prefix
	Link      int
	Protocol  uint8      // RouteProtocol: ours; RTPROT_KERNEL: came with an address
	Source    netip.Addr // preferred source, invalid for none
	Metric    uint32     // IPv6 only: the lowest wins
	MTU       uint32     // bytes, 0 for none
	MTULocked bool
}

// route is what is read of a route of any table.
type route struct {
	LocalRoute
	table uint32
	typ   uint8
}

// LocalRoutes lists the routes of type local in table local, both families.
func (l *Links) LocalRoutes() ([]LocalRoute, error) {
	var all []LocalRoute
	for _, family := range []Family{IPv4, IPv6} {
		routes, err := l.routes(family, unix.RT_TABLE_LOCAL)
		if err != nil {
			return nil, fmt.Errorf("list local routes: %w", err)
		}
		for _, r := range routes {
			if r.typ == unix.RTN_LOCAL {
				all = append(all, r.LocalRoute)
			}
		}
	}
	return all, nil
}

// routes dumps a table of a family.
func (l *Links) routes(family Family, table uint8) ([]route, error) {
	var all []route
	err := Retry(func() error {
		all = all[:0]
		var h [unix.SizeofRtMsg]byte
		h[0] = family.Inet()
		var b Batch
		b.Begin(unix.RTM_GETROUTE, 0, h[:]...)
		b.U32(unix.RTA_TABLE, uint32(table))
		return l.conn.Dump(&b, func(typ uint16, data []byte) error {
			// Kernels before 4.20 ignore the filter and send all tables.
			if r, ok := parseRoute(data); ok && typ == unix.RTM_NEWROUTE && r.table == uint32(table) {
				all = append(all, r)
			}
			return nil
		})
	})
	if errors.Is(err, unix.ENOENT) { // a table comes into being with its first route
		return nil, nil
	}
	return all, err
}

// parseRoute reads struct rtmsg and its attributes. ok is false for what is no
// route of a table, but the answer to a lookup.
func parseRoute(p []byte) (route, bool) {
	if len(p) < unix.SizeofRtMsg || p[0] != unix.AF_INET && p[0] != unix.AF_INET6 {
		return route{}, false
	}
	const cached = unix.RTM_F_CLONED
	flags := binary.NativeEndian.Uint32(p[8:])
	r := route{table: uint32(p[4]), typ: p[7]}
	r.Protocol = p[5]
	dst := netip.IPv4Unspecified()
	if p[0] == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	for a, rest, ok := NextAttr(p[unix.SizeofRtMsg:]); ok; a, rest, ok = NextAttr(rest) {
		switch a.Type {
		case unix.RTA_TABLE:
			r.table = a.u32()
		case unix.RTA_DST:
			dst = a.addr(p[0])
		case unix.RTA_OIF:
			r.Link = int(a.u32())
		case unix.RTA_PREFSRC:
			r.Source = a.addr(p[0])
		case unix.RTA_PRIORITY:
			r.Metric = a.u32()
		case unix.RTA_METRICS:
			r.metrics(a.Data)
		}
	}
	r.Dst = netip.PrefixFrom(dst, int(p[1]))
	return r, r.Dst.IsValid() && flags&cached == 0
}

func (r *route) metrics(p []byte) {
	for a, rest, ok := NextAttr(p); ok; a, rest, ok = NextAttr(rest) {
		switch a.Type {
		case unix.RTAX_MTU:
			r.MTU = a.u32()
		case unix.RTAX_LOCK:
			r.MTULocked = a.u32()&(1<<unix.RTAX_MTU) != 0
		}
	}
}

// AddVIPRoute adds the requests that make vip local by a route through lo, which
// tells the node's own packets to it their source and their MTU, whether it is an
// address of a link or not. src may be invalid and mtu 0: then the route says
// nothing of them. src must be an address of this node. A route of others, such as
// that of the node's own address, stays behind it, and so does the one that the kernel
// makes with an IPv4 address. Idempotent; ESRCH from a request is no failure.
func AddVIPRoute(b *Batch, vip, src netip.Addr, mtu uint32) {
	if vip.Is6() { // the kernel's own has another metric
		vipRoute(b, replace, vip, src, mtu)
		return
	}
	deleteRoute(b, loopback, vip, RouteProtocol)
	vipRoute(b, unix.NLM_F_CREATE, vip, src, mtu)
}

// ReplaceVIPRoute gives the route of AddVIPRoute another source and MTU. It must be
// there: of the IPv4 routes it takes the place of the first.
func ReplaceVIPRoute(b *Batch, vip, src netip.Addr, mtu uint32) { vipRoute(b, replace, vip, src, mtu) }

// DeleteKernelRoute adds a request that deletes the local route that the kernel has
// made with an address of link. That of an IPv6 address has metric 0, which no route
// from outside can have and which none can beat. The kernel makes it from a work
// queue some moments after the address: ESRCH says that it is gone, or yet to come.
// So read LocalRoutes afterwards, and as long as it is there, ask again. It also comes
// back when the link is set up.
func DeleteKernelRoute(b *Batch, link int, vip netip.Addr) {
	deleteRoute(b, link, vip, unix.RTPROT_KERNEL)
}

const replace = unix.NLM_F_CREATE | unix.NLM_F_REPLACE

func vipRoute(b *Batch, flags int, vip, src netip.Addr, mtu uint32) {
	localRoute(b, unix.RTM_NEWROUTE, flags, loopback, netip.PrefixFrom(vip, vip.BitLen()), RouteProtocol)
	if src.IsValid() {
		b.Attr(unix.RTA_PREFSRC, src.AsSlice()...)
	}
	if mtu != 0 {
		at := b.Nest(unix.RTA_METRICS)
		b.U32(unix.RTAX_LOCK, 1<<unix.RTAX_MTU)
		b.U32(unix.RTAX_MTU, mtu)
		b.End(at)
	}
}

// DeleteVIPRoute adds a request that deletes kube-ipvs's route for vip through any link. The
// kernel answers ESRCH if there is none.
func DeleteVIPRoute(b *Batch, vip netip.Addr) { deleteRoute(b, anyLink, vip, RouteProtocol) }

// DeleteVIPRouteOf adds a request that deletes kube-ipvs's route for vip through a link, as an
// older version made it. The kernel answers ESRCH if there is none.
func DeleteVIPRouteOf(b *Batch, link int, vip netip.Addr) { deleteRoute(b, link, vip, RouteProtocol) }

func deleteRoute(b *Batch, link int, vip netip.Addr, protocol uint8) {
	localRoute(b, unix.RTM_DELROUTE, 0, link, netip.PrefixFrom(vip, vip.BitLen()), protocol)
}

// anyLink makes a request match the route through any link.
const anyLink = 0

// AddImageRoute adds a request that makes all addresses of p, a prefix of mapped addresses,
// local through lo. Idempotent.
func AddImageRoute(b *Batch, lo int, p netip.Prefix) {
	localRoute(b, unix.RTM_NEWROUTE, replace, lo, p, RouteProtocol)
}

// DeleteImageRoute adds a request that deletes the route of AddImageRoute. The kernel answers
// ESRCH if there is none.
func DeleteImageRoute(b *Batch, lo int, p netip.Prefix) {
	localRoute(b, unix.RTM_DELROUTE, 0, lo, p, RouteProtocol)
}

// localRoute begins a request for a route of type local in table local.
func localRoute(b *Batch, typ uint16, flags int, link int, p netip.Prefix, protocol uint8) {
	p = p.Masked()
	var scope uint8 // IPv6 has none
	if p.Addr().Is4() {
		scope = unix.RT_SCOPE_HOST
	}
	b.Begin(typ, flags, ipfamily.Of(p.Addr()).Inet(), uint8(p.Bits()), 0, 0, unix.RT_TABLE_LOCAL, protocol, scope, unix.RTN_LOCAL, 0, 0, 0, 0)
	b.Attr(unix.RTA_DST, p.Addr().AsSlice()...)
	if link != anyLink {
		b.U32(unix.RTA_OIF, uint32(link))
	}
}
