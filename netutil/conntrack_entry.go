package netutil

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// entry is a conntrack entry with what names it to the kernel. The slices are
// of the dump and short-lived.
type entry struct {
	Flow
	orig     []byte // the original tuple as the kernel wrote it
	zone, id []byte
}

// clone returns an e that lives.
func (e entry) clone() entry {
	e.orig, e.zone, e.id = slices.Clone(e.orig), slices.Clone(e.zone), slices.Clone(e.id)
	return e
}

// addDelete adds a request to delete exactly e: the id keeps a newer entry
// with the same tuple.
func (e entry) addDelete(b *Batch, family Family) {
	ctnetlink(b, ctDelete, 0, family.Inet())
	b.Attr(ctaTupleOrig|unix.NLA_F_NESTED, e.orig...)
	if e.zone != nil {
		b.Attr(ctaZone, e.zone...)
	}
	b.Attr(ctaID, e.id...)
}

// parseEntry reads struct nfgenmsg and its attributes.
func parseEntry(p []byte) (e entry, ok bool) {
	const header = 4
	if len(p) < header {
		return entry{}, false
	}
	e.Unreplied = true
	for a, rest, ok := NextAttr(p[header:]); ok; a, rest, ok = NextAttr(rest) {
		switch a.Type {
		case ctaTupleOrig:
			t := parseTuple(a.Data)
			e.orig, e.Proto, e.Dst = a.Data, t.proto, t.dst
		case ctaTupleReply:
			e.Endpoint = parseTuple(a.Data).src
		case ctaStatus:
			e.Unreplied = len(a.Data) != 4 || binary.BigEndian.Uint32(a.Data)&seenReply == 0
		case ctaZone:
			e.zone = a.Data
		case ctaID:
			e.id = a.Data
		}
	}
	return e, e.id != nil && e.Dst.Addr().IsValid() && e.Endpoint.Addr().IsValid()
}

func parseTuple(p []byte) (t tuple) {
	var src, dst netip.Addr
	var srcPort, dstPort uint16
	for a, rest, ok := NextAttr(p); ok; a, rest, ok = NextAttr(rest) {
		for n, more, ok := NextAttr(a.Data); ok && (a.Type == ctaTupleIP || a.Type == ctaTupleProto); n, more, ok = NextAttr(more) {
			switch {
			case a.Type == ctaTupleIP && (n.Type == ctaIPv4Src || n.Type == ctaIPv6Src):
				src, _ = netip.AddrFromSlice(n.Data)
			case a.Type == ctaTupleIP && (n.Type == ctaIPv4Dst || n.Type == ctaIPv6Dst):
				dst, _ = netip.AddrFromSlice(n.Data)
			case a.Type == ctaTupleProto && n.Type == ctaProtoNum && len(n.Data) == 1:
				t.proto = n.Data[0]
			case a.Type == ctaTupleProto && n.Type == ctaProtoSrcPort && len(n.Data) == 2:
				srcPort = binary.BigEndian.Uint16(n.Data)
			case a.Type == ctaTupleProto && n.Type == ctaProtoDstPort && len(n.Data) == 2:
				dstPort = binary.BigEndian.Uint16(n.Data)
			}
		}
	}
	t.src, t.dst = netip.AddrPortFrom(src, srcPort), netip.AddrPortFrom(dst, dstPort)
	return t
}
