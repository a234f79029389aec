package netutil

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// From linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h.
const (
	ctNew    = unix.NFNL_SUBSYS_CTNETLINK << 8
	ctGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
	ctStats  = unix.NFNL_SUBSYS_CTNETLINK<<8 | 5
	ctDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3
	ctaTimeout    = 7
	ctaID         = 12
	ctaZone       = 18
	ctaFilter     = 25
	ctaStatusMask = 26

	seenReply = 1 << 1 // IPS_SEEN_REPLY
	confirmed = 1 << 3 // IPS_CONFIRMED, which a new entry has

	ctaTupleIP    = 1
	ctaTupleProto = 2

	ctaIPv4Src = 1
	ctaIPv4Dst = 2
	ctaIPv6Src = 3
	ctaIPv6Dst = 4

	ctaProtoNum     = 1
	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3

	ctaFilterOrig = 1

	// The bits of the filter attribute. They are not in the headers for
	// programs, only in the kernel's own nf_internals.h.
	filterSrc     = 1 << 0
	filterDst     = 1 << 1
	filterProto   = 1 << 3
	filterSrcPort = 1 << 4
	filterDstPort = 1 << 5
)

// ctnetlink begins a request about entries of a family.
func ctnetlink(b *Batch, typ uint16, flags int, family uint8) {
	b.Begin(typ, flags, family, unix.NFNETLINK_V0, 0, 0)
}

// filter is the kernel's filter of a list of entries. It may let other entries pass too, but
// never stops one that fits. The zero filter lets all pass.
type filter struct {
	Dialled
	unreplied bool // only entries to which no reply has come
}

// filtersOf returns filters that let all entries to one of to pass. If to is empty, or too long
// for filters to be cheaper, it returns the zero filter.
func filtersOf(family Family, to []Dialled) []filter {
	var out []filter
	for _, t := range to {
		f := filter{Dialled: t}
		// From 5.8 up to 6.18 at least, the kernel's comparison of IPv6
		// addresses is the wrong way round. It compares the ports of TCP and
		// UDP only, and takes those of others for equal.
		if family == IPv6 {
			f.To = netip.AddrPortFrom(netip.Addr{}, f.To.Port())
		}
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
		if len(out) > fewFilters {
			return []filter{{}}
		}
	}
	if len(out) == 0 {
		return []filter{{}}
	}
	return out
}

// add adds the filter to a request for a dump. A kernel that does not know it, before 5.8,
// lists everything; before 5.16 it does not know unreplied.
func (f filter) add(b *Batch) {
	if f == (filter{}) {
		return
	}
	if f.unreplied {
		b.Be32(ctaStatus, 0)
		b.Be32(ctaStatusMask, seenReply)
	}
	bits := tuple{proto: f.Proto, dst: f.To}.add(b, ctaTupleOrig)
	at := b.Nest(ctaFilter)
	b.U32(ctaFilterOrig, bits)
	b.End(at)
}

// tuple is one direction of an entry, as far as it is known.
type tuple struct {
	proto    uint8
	src, dst netip.AddrPort
}

// add adds the known parts of t and returns their bits for CTA_FILTER.
func (t tuple) add(b *Batch, typ uint16) (bits uint32) {
	whole := b.Nest(typ)
	srcType, dstType := uint16(ctaIPv4Src), uint16(ctaIPv4Dst)
	if t.src.Addr().Is6() || t.dst.Addr().Is6() {
		srcType, dstType = ctaIPv6Src, ctaIPv6Dst
	}
	ip := b.Nest(ctaTupleIP)
	if specific(t.src.Addr()) {
		b.Attr(srcType, t.src.Addr().AsSlice()...)
		bits |= filterSrc
	}
	if specific(t.dst.Addr()) {
		b.Attr(dstType, t.dst.Addr().AsSlice()...)
		bits |= filterDst
	}
	b.End(ip)
	proto := b.Nest(ctaTupleProto)
	if t.proto != 0 {
		b.U8(ctaProtoNum, t.proto)
		bits |= filterProto
	}
	if t.src.Port() != 0 {
		b.Be16(ctaProtoSrcPort, t.src.Port())
		bits |= filterSrcPort
	}
	if t.dst.Port() != 0 {
		b.Be16(ctaProtoDstPort, t.dst.Port())
		bits |= filterDstPort
	}
	b.End(proto)
	b.End(whole)
	return bits
}

// specific reports whether a names one address.
func specific(a netip.Addr) bool { return a.IsValid() && !a.IsUnspecified() }
