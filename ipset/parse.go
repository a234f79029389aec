package ipset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink/nl"

	"kube-ipvs/netutil"
)

var errMalformed = errors.New("the kernel's answer is malformed")

// sizeofNfgenmsg is the header before the attributes.
const sizeofNfgenmsg = 4

// parse reads one message of a dump: the set's header, of which only the first message has
// more than the name, and its entries. each may be nil.
func parse(p []byte, each func(Entry)) (Set, error) {
	var s Set
	if len(p) < sizeofNfgenmsg {
		return s, errMalformed
	}
	p = p[sizeofNfgenmsg:]
	for a, rest, ok := netutil.NextAttr(p); ok; a, rest, ok = netutil.NextAttr(rest) {
		switch a.Type {
		case nl.IPSET_ATTR_SETNAME:
			s.Name = text(a.Data)
		case nl.IPSET_ATTR_TYPENAME:
			s.Type = Type(text(a.Data))
		case nl.IPSET_ATTR_FAMILY:
			s.Family = one(a.Data)
		case nl.IPSET_ATTR_DATA:
			s.header(a.Data)
		case nl.IPSET_ATTR_ADT:
			if each == nil {
				continue
			}
			if err := entries(a.Data, each); err != nil {
				return s, err
			}
		}
	}
	if s.Name == "" {
		return s, errMalformed
	}
	return s, nil
}

func (s *Set) header(p []byte) {
	for a, rest, ok := netutil.NextAttr(p); ok; a, rest, ok = netutil.NextAttr(rest) {
		switch a.Type {
		case nl.IPSET_ATTR_MAXELEM:
			s.MaxEntries = be32(a.Data)
		case nl.IPSET_ATTR_ELEMENTS:
			s.Entries = be32(a.Data)
		case nl.IPSET_ATTR_REFERENCES:
			s.References = be32(a.Data)
		case nl.IPSET_ATTR_MEMSIZE:
			s.Memory = be32(a.Data)
		case nl.IPSET_ATTR_CADT_FLAGS:
			flags := be32(a.Data)
			s.Comments = flags&nl.IPSET_FLAG_WITH_COMMENT != 0
			s.Counters = flags&nl.IPSET_FLAG_WITH_COUNTERS != 0
		}
	}
}

func entries(p []byte, each func(Entry)) error {
	for a, rest, ok := netutil.NextAttr(p); ok; a, rest, ok = netutil.NextAttr(rest) {
		if a.Type != nl.IPSET_ATTR_DATA {
			continue
		}
		e, ok := parseEntry(a.Data)
		if !ok {
			return errMalformed
		}
		each(e)
	}
	return nil
}

func parseEntry(p []byte) (Entry, bool) {
	var e Entry
	for a, rest, ok := netutil.NextAttr(p); ok; a, rest, ok = netutil.NextAttr(rest) {
		switch a.Type {
		case nl.IPSET_ATTR_IP:
			e.Addr = parseAddress(a.Data)
		case nl.IPSET_ATTR_CIDR:
			e.Bits = one(a.Data)
		case nl.IPSET_ATTR_PROTO:
			e.Proto = one(a.Data)
		case nl.IPSET_ATTR_PORT:
			if len(a.Data) >= 2 {
				e.Port = binary.BigEndian.Uint16(a.Data)
			}
		case nl.IPSET_ATTR_IP2:
			e.Peer = parseAddress(a.Data)
		case nl.IPSET_ATTR_CIDR2:
			e.PeerBits = one(a.Data)
		case nl.IPSET_ATTR_COMMENT:
			e.Comment = text(a.Data)
		case nl.IPSET_ATTR_PACKETS:
			if len(a.Data) >= 8 {
				e.Packets = binary.BigEndian.Uint64(a.Data)
			}
		}
	}
	if !e.Addr.IsValid() {
		return e, false
	}
	e.Bits = bits(e.Addr, e.Bits)
	e.PeerBits = bits(e.Peer, e.PeerBits)
	return e, int(e.Bits) <= e.Addr.BitLen() && int(e.PeerBits) <= e.Peer.BitLen()
}

// bits returns the prefix length. The kernel does not send that of a single address, and no
// network has length 0.
func bits(a netip.Addr, told uint8) uint8 {
	if told == 0 {
		return uint8(a.BitLen())
	}
	return told
}

func parseAddress(p []byte) netip.Addr {
	a, _, _ := netutil.NextAttr(p)
	switch a.Type {
	case nl.IPSET_ATTR_IPADDR_IPV4, nl.IPSET_ATTR_IPADDR_IPV6:
		addr, _ := netip.AddrFromSlice(a.Data)
		return addr
	}
	return netip.Addr{}
}

func text(p []byte) string {
	p, _, _ = bytes.Cut(p, []byte{0})
	return string(p)
}

func one(p []byte) uint8 {
	if len(p) == 0 {
		return 0
	}
	return p[0]
}

func be32(p []byte) uint32 {
	if len(p) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(p)
}
