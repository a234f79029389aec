package netutil

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil/ipfamily"
)

// HasIPv6 reports whether this network namespace has IPv6. It has none if the kernel was
// started with ipv6.disable=1.
func HasIPv6() bool {
	_, err := os.Stat("/proc/thread-self/net/if_inet6")
	return err == nil
}

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
	if l.lists == nil {
		return l.addresses(anyLink)
	}
	var err error
	if l.lists.addresses == nil {
		l.lists.addresses, err = l.addresses(anyLink)
	}
	return l.lists.addresses, err
}

// AddressesOf lists the addresses of one link, both families. Kernels before 5.0 list
// all and let us choose.
func (l *Links) AddressesOf(link int) ([]Address, error) { return l.addresses(link) }

func (l *Links) addresses(link int) ([]Address, error) {
	all := []Address{}
	err := Retry(func() error {
		all = all[:0]
		var h [unix.SizeofIfAddrmsg]byte
		binary.NativeEndian.PutUint32(h[4:], uint32(link))
		var b Batch
		b.Begin(unix.RTM_GETADDR, 0, h[:]...)
		return l.conn.Dump(&b, func(typ uint16, data []byte) error {
			if a, ok := parseAddress(data); ok && typ == unix.RTM_NEWADDR && (link == anyLink || a.Link == link) {
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

// AddVIP adds a request that puts a, as a host prefix, on a link that carries
// virtual addresses. Idempotent. The node never takes it for its own source unasked: an
// IPv4 address is of scope host, an IPv6 one deprecated, without which it is a
// candidate wherever packets leave by a link that has no address. IPv6 does without
// duplicate detection, which a device that is down would never finish; neither has a
// prefix route. The kernel makes a local route for the address: see DeleteKernelRoute.
// What IPv4 address there is already keeps its scope.
func AddVIP(b *Batch, link int, a netip.Addr) {
	var flags uint32 = unix.IFA_F_NOPREFIXROUTE
	to := uint8(unix.RT_SCOPE_HOST)
	if a.Is6() {
		flags |= unix.IFA_F_NODAD
		to = unix.RT_SCOPE_UNIVERSE // what is written here the kernel does not read
	}
	address(b, unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, link, to, a)
	b.U32(unix.IFA_FLAGS, flags)
	if a.Is6() { // struct ifa_cacheinfo: preferred for no time, valid for ever
		var times [16]byte
		binary.NativeEndian.PutUint32(times[4:], math.MaxUint32)
		b.Attr(unix.IFA_CACHEINFO, times[:]...)
	}
}

// IsVIP reports whether the address has the attributes that AddVIP gives.
func (a Address) IsVIP() bool {
	if a.Prefix.Addr().Is4() {
		return a.Prefix.IsSingleIP() && a.Scope == unix.RT_SCOPE_HOST
	}
	return a.Prefix.IsSingleIP() && a.Flags&unix.IFA_F_DEPRECATED != 0
}

// DeleteAddress adds a request that deletes a from a link. It fails with EADDRNOTAVAIL if the
// link does not have it, and with ENODEV if there is no such link.
func DeleteAddress(b *Batch, link int, a netip.Addr) {
	address(b, unix.RTM_DELADDR, 0, link, unix.RT_SCOPE_UNIVERSE, a)
}

func address(b *Batch, typ uint16, flags int, link int, scope uint8, a netip.Addr) {
	var h [unix.SizeofIfAddrmsg]byte
	h[0], h[1], h[3] = ipfamily.Of(a).Inet(), uint8(a.BitLen()), scope
	binary.NativeEndian.PutUint32(h[4:], uint32(link))
	b.Begin(typ, flags, h[:]...)
	b.Attr(unix.IFA_LOCAL, a.AsSlice()...)
	b.Attr(unix.IFA_ADDRESS, a.AsSlice()...)
}

// Family is the one type for IP families, by its name in this package.
type Family = ipfamily.Family

// The families.
const (
	IPv4 = ipfamily.IPv4
	IPv6 = ipfamily.IPv6
)

// addr reads an address of a family, AF_INET or AF_INET6; it is invalid when the length is wrong.
func (a Attr) addr(family uint8) netip.Addr {
	got, ok := netip.AddrFromSlice(a.Data)
	if !ok || ipfamily.Of(got).Inet() != family {
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
