package netutil

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Address is an address of a link.
type Address struct {
	Link   int
	Prefix netip.Prefix // the address itself, not masked, with its prefix length
	Scope  uint8        // RT_SCOPE_ of linux/rtnetlink.h
	Flags  uint32       // IFA_F_ of linux/if_addr.h
}

// Usable reports whether packets may come from the address: IPv6 keeps it back
// until duplicate detection is through.
func (a Address) Usable() bool {
	return a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0
}

// Addresses lists the addresses of all links and both families, with one dump.
func (l *Links) Addresses() ([]Address, error) {
	var all []Address
	err := Retry(func() error {
		all = all[:0]
		var b Batch
		b.Begin(unix.RTM_GETADDR, 0, make([]byte, unix.SizeofIfAddrmsg)...)
		return l.conn.Dump(&b, func(typ uint16, data []byte) error {
			if a, ok := parseAddress(data); ok && typ == unix.RTM_NEWADDR {
				all = append(all, a)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return all, nil
}

// parseAddress reads struct ifaddrmsg and its attributes.
func parseAddress(p []byte) (Address, bool) {
	if len(p) < unix.SizeofIfAddrmsg {
		return Address{}, false
	}
	out := Address{Flags: uint32(p[2]), Scope: p[3], Link: int(binary.NativeEndian.Uint32(p[4:]))}
	var addr, local netip.Addr
	for a, rest, ok := NextAttr(p[unix.SizeofIfAddrmsg:]); ok; a, rest, ok = NextAttr(rest) {
		switch a.Type {
		case unix.IFA_ADDRESS:
			addr = a.addr(p[0])
		case unix.IFA_LOCAL:
			local = a.addr(p[0])
		case unix.IFA_FLAGS:
			out.Flags = a.u32() // the header has room for eight of them only
		}
	}
	if local.IsValid() { // then IFA_ADDRESS is the peer's
		addr = local
	}
	out.Prefix = netip.PrefixFrom(addr, int(p[1]))
	return out, out.Prefix.IsValid()
}

// AddAddress adds a request that puts a, as a host prefix, on a link.
// Idempotent. IPv6 does without duplicate detection, which a device that is
// down would never finish, and without a prefix route. The kernel adds its own
// local route for the address; see ReplaceVIPRoute.
func AddAddress(b *Batch, link int, a netip.Addr) {
	address(b, unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, link, a)
	if a.Is6() {
		b.U32(unix.IFA_FLAGS, unix.IFA_F_NODAD|unix.IFA_F_NOPREFIXROUTE)
	}
}

// DeleteAddress adds a request that takes a off a link. It fails with
// EADDRNOTAVAIL when it is not there, and with ENODEV when the link is not.
// The route of ReplaceVIPRoute wants DeleteVIPRoute first.
func DeleteAddress(b *Batch, link int, a netip.Addr) {
	address(b, unix.RTM_DELADDR, 0, link, a)
}

func address(b *Batch, typ uint16, flags int, link int, a netip.Addr) {
	var h [unix.SizeofIfAddrmsg]byte
	h[0], h[1], h[3] = family(a), uint8(a.BitLen()), scope(a)
	binary.NativeEndian.PutUint32(h[4:], uint32(link))
	b.Begin(typ, flags, h[:]...)
	b.Attr(unix.IFA_LOCAL, a.AsSlice()...)
	b.Attr(unix.IFA_ADDRESS, a.AsSlice()...)
}

// scope returns the scope that iproute2 gives an address without being told.
func scope(a netip.Addr) uint8 {
	switch {
	case a.IsLoopback():
		return unix.RT_SCOPE_HOST
	case a.Is6() && a.IsLinkLocalUnicast():
		return unix.RT_SCOPE_LINK
	}
	return unix.RT_SCOPE_UNIVERSE
}

// family returns AF_INET or AF_INET6.
func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// addr reads an address of a family; it is invalid when the length is wrong.
func (a Attr) addr(family uint8) netip.Addr {
	got, ok := netip.AddrFromSlice(a.Data)
	if !ok || got.Is4() != (family == unix.AF_INET) {
		return netip.Addr{}
	}
	return got
}

// u32 reads a number in host order, 0 when the length is wrong.
func (a Attr) u32() uint32 {
	if len(a.Data) != 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(a.Data)
}
