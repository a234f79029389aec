package state

import (
	"cmp"
	"net/netip"

	"kube-ipvs/netutil/ipfamily"
)

// Kind is the kind of object that an ID names.
type Kind uint8

// The kinds, in the order in which an empty node is filled.
const (
	Setting       Kind = iota + 1 // a sysctl, or a timeout of IPVS
	Link                          // the dummy device kube-ipvs0
	Set                           // one ipset of one family
	Rules                         // all chains and rules of one family
	Route                         // the local route of a prefix of mapped addresses
	VirtualServer                 // an IPVS service
	RealServer                    // a destination of an IPVS service
	VIP                           // a local route, and unless it is bare an address of kube-ipvs0
	Entry                         // a member of an ipset
	Flow                          // conntrack entries of UDP clients of a frontend, with the endpoints that may answer; never read back
	kinds
)

// ID names one object. It is comparable and serves as map key. The kind decides which
// fields are set; the others are zero. Addr is always valid and gives the family of the
// object. IDs have neither zones nor pointers, so that the garbage collector skips them:
// there are many.
type ID struct {
	Port       uint16  // VirtualServer, RealServer, Entry, Flow
	PeerPort   uint16  // RealServer: the endpoint's port
	addr, peer address // see Addr and Peer
	Kind       Kind
	Set        SetName    // Set, Entry
	Setting    SettingKey // Setting
	Proto      Protocol   // VirtualServer, RealServer, Entry, Flow
	Bits       uint8      // prefix length: Route; Entry of a set with a network, and its Flow
}

// Addr returns the object's address; for Set, Rules, Link and Setting the unspecified
// address of the family.
func (id ID) Addr() netip.Addr { return id.addr.netip() }

// Peer returns the endpoint's address of a RealServer, and the third dimension of an Entry.
func (id ID) Peer() netip.Addr { return id.peer.netip() }

// At returns id with another address.
func (id ID) At(a netip.Addr) ID {
	id.addr = addressOf(a)
	return id
}

// Spec is the content of an object. Two objects are equal if their IDs and Specs are.
type Spec struct {
	Scheduler string     // VirtualServer: name as the kernel knows it, such as "rr"
	Flags     uint32     // VirtualServer: the Flag bits
	Timeout   uint32     // VirtualServer: persistence timeout in seconds, 0 without FlagPersistent
	Weight    uint32     // RealServer: 0 drains; most that serve have 1
	Upper     uint32     // RealServer: the connections at which it gets no new ones, 0 for any number
	MTU       uint32     // VIP: MTU locked on its local route in bytes, 0 for none
	Bare      bool       // VIP: a local route only, no address of kube-ipvs0
	Condition Condition  // how an object that was read differs; wanted objects are Sound
	Source    netip.Addr // VIP: source address of the node's own packets to it, invalid for the kernel's choice
	Text      string     // Rules: input of iptables-restore, or the differences from it; Setting: value; Entry: comment; Flow: see Answering
}

// Condition says how an object in the kernel differs from a sound one, if the other
// fields of Spec cannot. An object that is not Sound equals no wanted object, so that
// Diff changes it.
type Condition uint8

// The conditions.
const (
	Sound      Condition = iota
	WrongRoute           // VIP: its address or its route differs from those that kube-ipvs makes
	NoAlias              // Link: it does not have the alias of kube-ipvs
	Differs              // Rules: they differ from the wanted ones, or cannot be read; Text says why, on one line
)

// Object is an ID with its content.
type Object struct {
	ID   ID
	Spec SpecRef
}

// Flags of a virtual server, linux/ip_vs.h. FlagHashed is the kernel's own and
// is masked out when reading.
const (
	FlagPersistent uint32 = 0x0001 // IP_VS_SVC_F_PERSISTENT
	FlagHashed     uint32 = 0x0002 // IP_VS_SVC_F_HASHED
	// FlagSchedFallback is IP_VS_SVC_F_SCHED1: sh and mh look for another real server if
	// the one of the hash has weight 0.
	FlagSchedFallback uint32 = 0x0008
	FlagSchedPort     uint32 = 0x0010 // IP_VS_SVC_F_SCHED2: sh and mh hash the source port too
	// FlagOurs is IP_VS_SVC_F_SCHED3. No scheduler of the kernel reads it, and the kernel
	// keeps it. So it marks a virtual server of kube-ipvs in the object itself, from its
	// first moment and across restarts. ipvsadm shows "flag-3", except beside the names
	// of the flags of sh and mh.
	FlagOurs uint32 = 0x0020
)

// Protocol is an IP protocol number.
type Protocol uint8

// The protocols that a Service port may have.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// Family is the one type for IP families, by its name in this package.
type Family = ipfamily.Family

// The families.
const (
	IPv4 = ipfamily.IPv4
	IPv6 = ipfamily.IPv6
)

// Families returns the families, without IPv6 unless ipv6 is true.
func Families(ipv6 bool) []Family {
	if ipv6 {
		return []Family{IPv4, IPv6}
	}
	return []Family{IPv4}
}

// FamilyOf returns the family of an address.
func FamilyOf(a netip.Addr) Family { return ipfamily.Of(a) }

// Compare orders IDs: by kind, then address, then the rest.
func (id ID) Compare(o ID) int {
	switch {
	case id.Kind != o.Kind:
		return cmp.Compare(id.Kind, o.Kind)
	case id.Set != o.Set:
		return cmp.Compare(id.Set, o.Set)
	case id.addr != o.addr:
		return id.addr.compare(o.addr)
	}
	return cmp.Or(cmp.Compare(id.Port, o.Port), cmp.Compare(id.Proto, o.Proto), id.peer.compare(o.peer),
		cmp.Compare(id.PeerPort, o.PeerPort), cmp.Compare(id.Bits, o.Bits), cmp.Compare(id.Setting, o.Setting))
}

// Family returns the family of the object.
func (id ID) Family() Family {
	if id.addr.family == 4 {
		return IPv4
	}
	return IPv6
}

// VirtualServerID names the virtual server at addr.
func VirtualServerID(proto Protocol, addr netip.AddrPort) ID {
	return ID{Kind: VirtualServer, Proto: proto, addr: addressOf(addr.Addr()), Port: addr.Port()}
}

// RealServerID names the endpoint behind the virtual server vs.
func RealServerID(vs ID, endpoint netip.AddrPort) ID {
	vs.Kind, vs.peer, vs.PeerPort = RealServer, addressOf(endpoint.Addr()), endpoint.Port()
	return vs
}

// Server returns the ID of the virtual server that a real server belongs to.
func (id ID) Server() ID {
	id.Kind, id.peer, id.PeerPort = VirtualServer, address{}, 0
	return id
}

// Endpoint returns a real server's own address and port.
func (id ID) Endpoint() netip.AddrPort { return netip.AddrPortFrom(id.Peer(), id.PeerPort) }

// AddrPort returns the address and port of a virtual server or set entry.
func (id ID) AddrPort() netip.AddrPort { return netip.AddrPortFrom(id.Addr(), id.Port) }

// VIPID names an address that kube-ipvs makes the node's own.
func VIPID(a netip.Addr) ID { return ID{Kind: VIP, addr: addressOf(a)} }

// RouteID names the local route of a prefix of mapped addresses.
func RouteID(p netip.Prefix) ID {
	return ID{Kind: Route, addr: addressOf(p.Masked().Addr()), Bits: uint8(p.Bits())}
}

// LinkID names the dummy device.
func LinkID() ID { return ID{Kind: Link, addr: addressOf(IPv4.Unspecified())} }

// SetID names the set of a family.
func SetID(name SetName, family Family) ID {
	return ID{Kind: Set, Set: name, addr: addressOf(family.Unspecified())}
}

// RulesID names the rules of a family.
func RulesID(family Family) ID { return ID{Kind: Rules, addr: addressOf(family.Unspecified())} }

// SettingID names a setting.
func SettingID(k SettingKey) ID {
	return ID{Kind: Setting, Setting: k, addr: addressOf(k.family().Unspecified())}
}

// Facts are what rendering must know of the node. Read afresh at start and
// when links or addresses change.
type Facts struct {
	NodeIPs []netip.Addr // the node's own address, one a family at most
	MTU     uint32       // of the link that carries NodeIPs, 0 if unknown
	NoIPv6  bool         // IPv6 is switched off, so that no route of that family can be had
	NoVIPv6 bool         // kube-ipvs0 can have no IPv6 addresses, since IPv6 is switched off on it

	NoDevice bool // there can be no kube-ipvs0: another program's link has the name, or making it showed that the kernel has no dummy devices

	TCPBeLiberal bool // net.netfilter.nf_conntrack_tcp_be_liberal is set: conntrack takes packets outside the TCP window

	InImages []netip.Prefix // addresses of the node's links that lie in prefixes of images
}

// NodeIP returns the node's own address of a family, or an invalid one.
func (f Facts) NodeIP(family Family) netip.Addr {
	for _, ip := range f.NodeIPs {
		if FamilyOf(ip) == family {
			return ip
		}
	}
	return netip.Addr{}
}
