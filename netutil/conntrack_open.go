package netutil

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// From linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_common.h and
// nf_conntrack_tcp.h.
const (
	ctaProtoinfo         = 4
	ctaProtoinfoTCP      = 1
	ctaProtoinfoTCPState = 1

	assured        = 1 << 2 // IPS_ASSURED: it was answered, and went on
	tcpEstablished = 3      // TCP_CONNTRACK_ESTABLISHED
)

// Open calls each with the protocol and the original destination of every flow
// of a family that is open: a TCP connection that is established, or a flow of
// another protocol that was answered and went on. It lists the whole table.
func (c *Conntrack) Open(family Family, each func(proto uint8, to netip.AddrPort)) error {
	var b Batch
	ctnetlink(&b, ctGet, 0, family.Inet())
	err := c.dumps.Dump(&b, func(_ uint16, data []byte) error {
		if e, ok := parseEntry(data); ok && isOpen(e.Proto, data) {
			each(e.Proto, e.Dst)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list conntrack entries of %s: %w", family, err)
	}
	return nil
}

// isOpen reports whether an entry, as the kernel lists it, is of an open flow.
func isOpen(proto uint8, p []byte) bool {
	const header = 4
	open := false
	for a, rest, ok := NextAttr(p[header:]); ok; a, rest, ok = NextAttr(rest) {
		switch {
		case a.Type == ctaStatus && proto != unix.IPPROTO_TCP:
			open = len(a.Data) == 4 && binary.BigEndian.Uint32(a.Data)&assured != 0
		case a.Type == ctaProtoinfo && proto == unix.IPPROTO_TCP:
			open = tcpState(a.Data) == tcpEstablished
		}
	}
	return open
}

func tcpState(protoinfo []byte) uint8 {
	for a, rest, ok := NextAttr(protoinfo); ok; a, rest, ok = NextAttr(rest) {
		for n, more, ok := NextAttr(a.Data); ok && a.Type == ctaProtoinfoTCP; n, more, ok = NextAttr(more) {
			if n.Type == ctaProtoinfoTCPState && len(n.Data) == 1 {
				return n.Data[0]
			}
		}
	}
	return 0
}
