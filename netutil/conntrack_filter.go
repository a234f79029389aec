package netutil

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// From linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h.
const (
	ctNew    = unix.NFNL_SUBSYS_CTNETLINK << 8
	ctGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
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

	ctaFilterOrig  = 1
	ctaFilterReply = 2

	// The bits of the two filter attributes. They are not in the headers for
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

// filterable reports whether the kernel can match f. Its filter compares ports
// of TCP and UDP only and takes all others, SCTP's too, for equal: that would
// delete what does not fit.
func (f Flow) filterable() bool {
	ports := f.Dst.Port() != 0 || f.Endpoint.Port() != 0
	return !ports || f.Proto == unix.IPPROTO_TCP || f.Proto == unix.IPPROTO_UDP
}

// deleteFilter adds a request to delete all that fits f.
//
// A kernel that cannot do it must not take the request for a flush. It does
// not, because the request always has a tuple: before 6.12 a tuple means one
// exact entry, and as this one lacks a source the answer is EINVAL.
func deleteFilter(b *Batch, f Flow) {
	ctnetlink(b, ctDelete, 0, f.family())
	orig := tuple{proto: f.Proto, dst: f.Dst}.add(b, ctaTupleOrig)
	reply := tuple{proto: f.Proto, src: f.Endpoint}.add(b, ctaTupleReply)
	at := b.Nest(ctaFilter)
	b.U32(ctaFilterOrig, orig)
	b.U32(ctaFilterReply, reply)
	b.End(at)
	if f.Unreplied {
		b.Be32(ctaStatus, 0)
		b.Be32(ctaStatusMask, seenReply)
	}
}

// createUDP adds a request to create an entry that lasts some seconds and fits
// f, with client as the one who asks.
func createUDP(b *Batch, client netip.AddrPort, f Flow) {
	ctnetlink(b, ctNew, unix.NLM_F_CREATE|unix.NLM_F_EXCL, f.family())
	tuple{proto: unix.IPPROTO_UDP, src: client, dst: f.Dst}.add(b, ctaTupleOrig)
	tuple{proto: unix.IPPROTO_UDP, src: f.Endpoint, dst: client}.add(b, ctaTupleReply)
	b.Be32(ctaTimeout, 30)
	if !f.Unreplied {
		b.Be32(ctaStatus, seenReply|confirmed)
	}
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
