package ipset

import (
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

// entryFlags are the flags of AddEntry and DeleteEntry. Without NLM_F_EXCL the kernel adds an
// existing entry and deletes a missing one with success, and rewrites the comment of an
// existing entry. So both are idempotent, and a comment changes without a deletion, during
// which packets would miss the entry.
const entryFlags = 0

// AddEntry appends the request that adds e to set, which has type typ. Idempotent: it only
// replaces the comment of an existing entry, in place and even in a full set.
func AddEntry(b *netutil.Batch, set string, typ Type, e Entry) {
	entry(b, nl.IPSET_CMD_ADD, set, typ, e)
}

// DeleteEntry appends the request that deletes e from set, which has type typ. Idempotent. It
// ignores the comment.
func DeleteEntry(b *netutil.Batch, set string, typ Type, e Entry) {
	e.Comment = ""
	entry(b, nl.IPSET_CMD_DEL, set, typ, e)
}

func entry(b *netutil.Batch, cmd int, set string, typ Type, e Entry) {
	l := layouts[typ]
	begin(b, cmd, entryFlags)
	b.String(nl.IPSET_ATTR_SETNAME, set)
	data := b.Nest(nl.IPSET_ATTR_DATA)
	if e.Comment != "" {
		b.String(nl.IPSET_ATTR_COMMENT, e.Comment)
	}
	address(b, nl.IPSET_ATTR_IP, e.Addr)
	if l.net {
		b.U8(nl.IPSET_ATTR_CIDR, e.Bits)
	}
	if l.peer {
		address(b, nl.IPSET_ATTR_IP2, e.Peer)
	}
	if l.peerNet {
		b.U8(nl.IPSET_ATTR_CIDR2, e.PeerBits)
	}
	if l.port {
		b.U8(nl.IPSET_ATTR_PROTO, e.Proto)
		b.Be16(nl.IPSET_ATTR_PORT|unix.NLA_F_NET_BYTEORDER, e.Port)
	}
	b.End(data)
}

func address(b *netutil.Batch, attr uint16, a netip.Addr) {
	at := b.Nest(attr)
	if a.Is4() {
		p := a.As4()
		b.Attr(nl.IPSET_ATTR_IPADDR_IPV4|unix.NLA_F_NET_BYTEORDER, p[:]...)
	} else {
		p := a.As16()
		b.Attr(nl.IPSET_ATTR_IPADDR_IPV6|unix.NLA_F_NET_BYTEORDER, p[:]...)
	}
	b.End(at)
}

// create appends the request that makes s.
func create(b *netutil.Batch, s Set, flags int) {
	begin(b, nl.IPSET_CMD_CREATE, unix.NLM_F_CREATE|flags)
	b.String(nl.IPSET_ATTR_SETNAME, s.Name)
	b.String(nl.IPSET_ATTR_TYPENAME, string(s.Type))
	b.U8(nl.IPSET_ATTR_REVISION, layouts[s.Type].revision)
	b.U8(nl.IPSET_ATTR_FAMILY, s.Family)
	data := b.Nest(nl.IPSET_ATTR_DATA)
	// Without a hash size the kernel starts small and doubles as entries come.
	b.Be32(nl.IPSET_ATTR_MAXELEM|unix.NLA_F_NET_BYTEORDER, s.MaxEntries)
	var with uint32
	if s.Comments {
		with |= nl.IPSET_FLAG_WITH_COMMENT
	}
	if s.Counters {
		with |= nl.IPSET_FLAG_WITH_COUNTERS
	}
	if with != 0 {
		b.Be32(nl.IPSET_ATTR_CADT_FLAGS|unix.NLA_F_NET_BYTEORDER, with)
	}
	b.End(data)
}

func destroy(b *netutil.Batch, name string) {
	begin(b, nl.IPSET_CMD_DESTROY, 0)
	b.String(nl.IPSET_ATTR_SETNAME, name)
}

// list appends the request to dump a set, or all sets if name is empty.
func list(b *netutil.Batch, name string, headerOnly bool) {
	const listHeader = 1 << 2 // IPSET_FLAG_LIST_HEADER
	begin(b, nl.IPSET_CMD_LIST, 0)
	if name != "" {
		b.String(nl.IPSET_ATTR_SETNAME, name)
	}
	if headerOnly {
		b.Be32(nl.IPSET_ATTR_FLAGS|unix.NLA_F_NET_BYTEORDER, listHeader)
	}
}

// begin starts a request: nfgenmsg, then the protocol version, the lowest with all commands
// of this package.
func begin(b *netutil.Batch, cmd, flags int) {
	b.Begin(uint16(unix.NFNL_SUBSYS_IPSET<<8|cmd), flags, unix.AF_NETLINK, nl.NFNETLINK_V0, 0, 0)
	b.U8(nl.IPSET_ATTR_PROTOCOL, nl.IPSET_PROTOCOL)
}
