// Package ipset creates, fills and lists the kernel's IP sets over netlink
// (linux/netfilter/ipset/ip_set.h): five hash types, IPv4 and IPv6, entries
// with comments. Thousands of entries go in one system call, and a listing
// costs no more than reading it.
//
// Everything here says what is to be, and saying it twice is no error: a
// caller that keeps a set as it should be never has to ask first.
package ipset

import "net/netip"

// Type is the kernel's name of a set type: what an entry consists of.
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

// DefaultMaxEntries is how many entries a set can hold that is created without
// MaxEntries. The kernel's own default, 65536, is less than a big cluster has.
// It is only a limit: memory is taken as entries come.
const DefaultMaxEntries = 1 << 20

// layout is what tells the types apart.
type layout struct {
	module   string // of the kernel
	revision uint8  // the first that knows comments, so the same for every set: Linux 3.13
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

// Entry is a member of a set of any of the types. The type says which fields
// it has; the others are ignored on the way in and zero on the way out.
type Entry struct {
	Addr netip.Addr
	// Bits is the prefix length of Addr: that of one address except in
	// hash:net,port. Addr is then the network's first address: the kernel
	// clears the rest. It refuses length 0 (ErrPrefix): whoever means
	// everything adds both halves, of length 1.
	Bits  uint8
	Proto uint8 // IP protocol number; TCP, UDP and SCTP have ports
	Port  uint16
	Peer  netip.Addr // the second address of hash:ip,port,ip and hash:ip,port,net
	// PeerBits is to Peer what Bits is to Addr; hash:ip,port,net has networks here.
	PeerBits uint8
	// Comment is any text of up to MaxComment bytes without NUL, in a set
	// with comments. The ipset tool cannot restore one with a double quote.
	Comment string

	// Told by the kernel, of a set with counters; ignored on the way in.
	Packets uint64 // that rules have found in the set by this entry
}

// Set is a set without its entries.
type Set struct {
	Name       string // at most 31 bytes
	Type       Type
	Family     uint8 // unix.AF_INET or unix.AF_INET6
	Comments   bool  // entries can carry comments
	Counters   bool  // entries count the packets that rules find by them
	MaxEntries uint32

	// Told by the kernel, ignored by Create.
	Entries    uint32 // how many there are now
	References uint32 // by rules and other sets: it cannot be destroyed while there are any
	Memory     uint32 // bytes
}
