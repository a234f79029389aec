package netutil

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// A shape says what a Flow names.
type shape uint8

const (
	shapeProto shape = 1 << iota
	shapeDst
	shapeDstPort
	shapeEnd
	shapeEndPort
	shapeUnreplied
)

func (f Flow) shape() (s shape) {
	name := func(bit shape, named bool) {
		if named {
			s |= bit
		}
	}
	name(shapeProto, f.Proto != 0)
	name(shapeDst, specific(f.Dst.Addr()))
	name(shapeDstPort, f.Dst.Port() != 0)
	name(shapeEnd, specific(f.Endpoint.Addr()))
	name(shapeEndPort, f.Endpoint.Port() != 0)
	name(shapeUnreplied, f.Unreplied)
	return s
}

// flowKey is what all entries that fit a Flow have in common. Comparing keys
// makes a scan cost the entries and not the entries times the flows.
type flowKey struct {
	shape         shape
	family, proto uint8
	dst, end      netip.AddrPort
}

// key blanks all but what the shape names.
func (s shape) key(family, proto uint8, dst, end netip.AddrPort) flowKey {
	k := flowKey{shape: s, family: family}
	if s&shapeProto != 0 {
		k.proto = proto
	}
	k.dst = s.part(dst, shapeDst, shapeDstPort)
	k.end = s.part(end, shapeEnd, shapeEndPort)
	return k
}

func (s shape) part(ap netip.AddrPort, addr, port shape) netip.AddrPort {
	var a netip.Addr
	var p uint16
	if s&addr != 0 {
		a = ap.Addr()
	}
	if s&port != 0 {
		p = ap.Port()
	}
	return netip.AddrPortFrom(a, p)
}

// deleteByScan dumps the table once a family and deletes what fits the flows
// with the given indexes.
func (c *Conntrack) deleteByScan(flows []Flow, which []int, errs []error) {
	wanted := map[uint8]map[flowKey][]int{}
	for _, i := range which {
		f := flows[i]
		if wanted[f.family()] == nil {
			wanted[f.family()] = map[flowKey][]int{}
		}
		k := f.shape().key(f.family(), f.Proto, f.Dst, f.Endpoint)
		wanted[f.family()][k] = append(wanted[f.family()][k], i)
	}
	for fam, keys := range wanted {
		c.scan(fam, keys, errs)
	}
}

// scan deletes the entries of a family that fit any of keys, whose values are
// the indexes in errs of those who asked.
func (c *Conntrack) scan(family uint8, keys map[flowKey][]int, errs []error) {
	var shapes []shape
	for k := range keys {
		if !slices.Contains(shapes, k.shape) {
			shapes = append(shapes, k.shape)
		}
	}
	var b Batch
	var owners [][]int // of each request in b
	err := c.dump(family, func(e entry) {
		for _, s := range shapes {
			if s&shapeUnreplied != 0 && e.replied {
				continue
			}
			if who := keys[s.key(family, e.proto, e.dst, e.end)]; who != nil {
				e.addDelete(&b, family)
				owners = append(owners, who)
				return
			}
		}
	})
	// What was found can go even if the dump ended early.
	fates := c.conn.Exec(&b)
	for n, who := range owners {
		switch {
		case fates == nil || fates[n] == nil:
			c.deleted.Add(1)
		case !errors.Is(fates[n], unix.ENOENT): // else it ended meanwhile
			blame(errs, who, fates[n])
		}
	}
	if err != nil {
		for _, who := range keys {
			blame(errs, who, err)
		}
	}
}

func blame(errs []error, who []int, err error) {
	for _, i := range who {
		errs[i] = err
	}
}

// entry is a conntrack entry. The slices are of the dump and short-lived.
type entry struct {
	proto    uint8
	dst, end netip.AddrPort // original destination, source of replies
	replied  bool           // a packet went the other way
	orig     []byte         // the original tuple as the kernel wrote it
	zone, id []byte
}

// addDelete adds a request to delete exactly e: the id keeps a newer entry
// with the same tuple.
func (e entry) addDelete(b *Batch, family uint8) {
	ctnetlink(b, ctDelete, 0, family)
	b.Attr(ctaTupleOrig|unix.NLA_F_NESTED, e.orig...)
	if e.zone != nil {
		b.Attr(ctaZone, e.zone...)
	}
	b.Attr(ctaID, e.id...)
}

// dump hands each entry of a family to each.
func (c *Conntrack) dump(family uint8, each func(entry)) error {
	var b Batch
	ctnetlink(&b, ctGet, 0, family)
	return c.conn.Dump(&b, func(_ uint16, data []byte) error {
		if e, ok := parseEntry(data); ok {
			each(e)
		}
		return nil
	})
}

// parseEntry reads struct nfgenmsg and its attributes.
func parseEntry(p []byte) (e entry, ok bool) {
	const header = 4
	if len(p) < header {
		return entry{}, false
	}
	for a, rest, ok := NextAttr(p[header:]); ok; a, rest, ok = NextAttr(rest) {
		switch a.Type {
		case ctaTupleOrig:
			t := parseTuple(a.Data)
			e.orig, e.proto, e.dst = a.Data, t.proto, t.dst
		case ctaTupleReply:
			e.end = parseTuple(a.Data).src
		case ctaStatus:
			e.replied = len(a.Data) == 4 && binary.BigEndian.Uint32(a.Data)&seenReply != 0
		case ctaZone:
			e.zone = a.Data
		case ctaID:
			e.id = a.Data
		}
	}
	return e, e.id != nil && e.dst.Addr().IsValid() && e.end.Addr().IsValid()
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
