// Package ipset creates, fills and lists the kernel's IP sets over netlink
// (linux/netfilter/ipset/ip_set.h): five hash types, IPv4 and IPv6, entries with comments.
// Thousands of entries go in one system call, and a listing costs no more than reading it.
//
// All writes are idempotent, so that a caller need not read a set before it writes.
package ipset

import "net/netip"

// Type is the kernel's name of a set type, which decides the fields of an entry.
type Type string

// The types. The kernel carries each in a module of its own.
const (
	HashIP        Type = "hash:ip"          // Addr
	HashIPPort    Type = "hash:ip,port"     // Addr, Proto, Port
	HashIPPortIP  Type = "hash:ip,port,ip"  // Addr, Proto, Port, Peer
	HashIPPortNet Type = "hash:ip,port,net" // Addr, Proto, Port, Peer/PeerBits
	HashNetPort   Type = "hash:net,port"    // Addr/Bits, Proto, Port
)

// MaxComment is the longest comment in bytes that an entry can hold
// (IPSET_MAX_COMMENT_SIZE).
const MaxComment = 255

// maxName is the longest name of a set (IPSET_MAXNAMELEN less the NUL).
const maxName = 31

// DefaultMaxEntries is the limit of a set that is created without MaxEntries. The kernel's own
// default, 65536, is too low for a big cluster. A limit costs no memory.
const DefaultMaxEntries = 1 << 20

// layout describes a type.
type layout struct {
	module   string // the kernel's module
	revision uint8  // the first one with comments (Linux 3.13), for every set
	port     bool   // Proto and Port
	net      bool   // Bits
	peer     bool   // Peer
	peerNet  bool   // PeerBits
}

var layouts = map[Type]layout{
	HashIP:        {module: "ip_set_hash_ip", revision: 2},
	HashIPPort:    {module: "ip_set_hash_ipport", revision: 3, port: true},
	HashIPPortIP:  {module: "ip_set_hash_ipportip", revision: 3, port: true, peer: true},
	HashIPPortNet: {module: "ip_set_hash_ipportnet", revision: 5, port: true, peer: true, peerNet: true},
	HashNetPort:   {module: "ip_set_hash_netport", revision: 5, port: true, net: true},
}

// Entry is a member of a set. The type decides its fields; the others are ignored in writes,
// and zero in lists.
type Entry struct {
	Addr netip.Addr
	// Bits is the prefix length of Addr: that of one address except in hash:net,port,
	// where Addr is the network's first address. The kernel refuses length 0 (ErrPrefix):
	// add both halves, of length 1, instead.
	Bits  uint8
	Proto uint8 // IP protocol number; TCP, UDP and SCTP have ports
	Port  uint16
	Peer  netip.Addr // the second address of hash:ip,port,ip and hash:ip,port,net
	// PeerBits is the prefix length of Peer, as Bits is of Addr, in hash:ip,port,net.
	PeerBits uint8
	// Comment is any text of up to MaxComment bytes without NUL, in a set
	// with comments. The ipset tool cannot restore one with a double quote.
	Comment string

	// Packets counts the packets of rules that matched this entry, in a set with counters.
	// Writes ignore it.
	Packets uint64
}

// Set is a set without its entries.
type Set struct {
	Name       string // at most 31 bytes
	Type       Type
	Family     uint8 // unix.AF_INET or unix.AF_INET6
	Comments   bool  // entries can have comments
	Counters   bool  // entries count the packets that match them
	MaxEntries uint32

	// The kernel sets these; Create ignores them.
	Entries    uint32 // present number of entries
	References uint32 // references of rules and other sets, which prevent Destroy
	Memory     uint32 // bytes
}
