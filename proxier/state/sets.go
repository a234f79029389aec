package state

import (
	"net/netip"
)

// SetName is one of the sets that the rules look into. There is one of each
// for IPv4 and for IPv6.
type SetName uint8

// The sets. "Frontend" is address, protocol and port that clients dial.
const (
	SetAll             SetName = iota + 1 // every frontend that is an address: ClusterIPs, load-balancer and external IPs
	SetCluster                            // ClusterIP frontends
	SetExternal                           // load-balancer and external IPs, externalTrafficPolicy Cluster
	SetExternalLocal                      // the same, policy Local
	SetReject                             // frontends without any endpoint
	SetDrop                               // ClusterIPs, internalTrafficPolicy Local, no endpoint on this node
	SetNoLocal                            // SetExternalLocal frontends with endpoints on other nodes only
	SetSourceFiltered                     // load-balancer frontends with loadBalancerSourceRanges
	SetSourceAllowed                      // frontend and network that may reach it
	SetNodePort                           // node ports, policy Cluster, with the networks of node addresses that serve them
	SetNodePortLocal                      // the same, policy Local
	SetNodePortReject                     // node ports without any endpoint
	SetNodePortNoLocal                    // SetNodePortLocal ports with endpoints on other nodes only
	SetHairpin                            // endpoint, port, endpoint: an endpoint of this node that reaches itself
	SetVIPs                               // the addresses on kube-ipvs0 that are ours
	SetHealth                             // health-check node ports, with the networks of node addresses that answer there
	setNames
)

// SetType is the kernel's name of a set type.
type SetType string

// The types in use.
const (
	HashIP        SetType = "hash:ip"
	HashIPPort    SetType = "hash:ip,port"
	HashIPPortIP  SetType = "hash:ip,port,ip"
	HashIPPortNet SetType = "hash:ip,port,net"
	HashNetPort   SetType = "hash:net,port"
)

// SetTypes lists every type in use once, for the probe of the kernel.
var SetTypes = []SetType{HashIP, HashIPPort, HashIPPortIP, HashIPPortNet, HashNetPort}

// setUse is what the entries of a set do.
type setUse uint8

const (
	useNone    setUse = iota // nothing to a frontend
	useOwn                   // say that an address is ours
	useAllow                 // let a network reach a frontend that filters
	useFilter                // keep all other clients away from it
	useRefuse                // keep clients away from a frontend for want of endpoints
	useName                  // say which Service port a frontend serves
	usePublish               // make a frontend answer
	setUses
)

var setTable = [setNames]struct {
	name     string // for IPv4
	kind     SetType
	use      setUse
	comments bool
}{
	SetAll:             {"KIPVS-ALL", HashIPPort, useName, true},
	SetCluster:         {"KIPVS-CLUSTER", HashIPPort, usePublish, false},
	SetExternal:        {"KIPVS-EXT", HashIPPort, usePublish, false},
	SetExternalLocal:   {"KIPVS-EXT-LOCAL", HashIPPort, usePublish, false},
	SetReject:          {"KIPVS-REJECT", HashIPPort, useRefuse, false},
	SetDrop:            {"KIPVS-DROP", HashIPPort, useRefuse, false},
	SetNoLocal:         {"KIPVS-NO-LOCAL", HashIPPort, useRefuse, false},
	SetSourceFiltered:  {"KIPVS-SRC-FILTER", HashIPPort, useFilter, false},
	SetSourceAllowed:   {"KIPVS-SRC-ALLOW", HashIPPortNet, useAllow, false},
	SetNodePort:        {"KIPVS-NODEPORT", HashNetPort, usePublish, true},
	SetNodePortLocal:   {"KIPVS-NODEPORT-LOCAL", HashNetPort, usePublish, true},
	SetNodePortReject:  {"KIPVS-NODEPORT-REJECT", HashNetPort, useRefuse, false},
	SetNodePortNoLocal: {"KIPVS-NODEPORT-NO-LOCAL", HashNetPort, useRefuse, false},
	SetHairpin:         {"KIPVS-HAIRPIN", HashIPPortIP, useNone, false},
	SetVIPs:            {"KIPVS-VIPS", HashIP, useOwn, false},
	SetHealth:          {"KIPVS-HEALTH", HashNetPort, useNone, false},
}

// SetNames lists the sets.
func SetNames() []SetName {
	var all []SetName
	for n := SetName(1); n < setNames; n++ {
		all = append(all, n)
	}
	return all
}

// Prefixes of the names of our sets and chains in the kernel: nobody else may use them.
const (
	Prefix4 = "KIPVS-"
	Prefix6 = "KIPVS6-"
)

// Kernel returns the set's name in the kernel for family, IPv4 or IPv6.
func (n SetName) Kernel(family netip.Addr) string {
	if family.Is4() {
		return setTable[n].name
	}
	return Prefix6 + setTable[n].name[len(Prefix4):]
}

// Type returns the set's type.
func (n SetName) Type() SetType { return setTable[n].kind }

// Comments reports whether entries carry the name of the Service port they
// serve, so that a node explains itself without a running daemon.
func (n SetName) Comments() bool { return setTable[n].comments }

// Refuses reports whether entries keep clients away from a frontend for want
// of endpoints. The kernel counts the packets that find them.
func (n SetName) Refuses() bool { return setTable[n].use == useRefuse }

// Publishes reports whether an entry of the set is what makes a frontend answer.
func (n SetName) Publishes() bool { return setTable[n].use == usePublish }

// EntryID names the address, protocol and port in a set of type hash:ip,port.
func EntryID(set SetName, proto Protocol, addr netip.AddrPort) ID {
	return ID{Kind: Entry, Set: set, Proto: proto, addr: addressOf(addr.Addr()), Port: addr.Port()}
}

// MemberID names an entry as the kernel lists it: peer and bits are those of
// sets that have them.
func MemberID(set SetName, proto Protocol, addr netip.AddrPort, peer netip.Addr, bits uint8) ID {
	id := EntryID(set, proto, addr)
	id.peer, id.Bits = addressOf(peer), bits
	return id
}

// NetEntryID names an entry of a set of type hash:net,port.
func NetEntryID(set SetName, proto Protocol, net netip.Prefix, port uint16) ID {
	return ID{Kind: Entry, Set: set, Proto: proto, addr: addressOf(net.Masked().Addr()), Bits: uint8(net.Bits()), Port: port}
}

// SourceEntryID names an entry of SetSourceAllowed: net may reach addr.
func SourceEntryID(proto Protocol, addr netip.AddrPort, net netip.Prefix) ID {
	return ID{Kind: Entry, Set: SetSourceAllowed, Proto: proto, addr: addressOf(addr.Addr()), Port: addr.Port(),
		peer: addressOf(net.Masked().Addr()), Bits: uint8(net.Bits())}
}

// HairpinID names the entry of SetHairpin for a local endpoint.
func HairpinID(proto Protocol, endpoint netip.AddrPort) ID {
	return ID{Kind: Entry, Set: SetHairpin, Proto: proto, addr: addressOf(endpoint.Addr()), Port: endpoint.Port(), peer: addressOf(endpoint.Addr())}
}

// VIPEntryID names the entry of SetVIPs for a.
func VIPEntryID(a netip.Addr) ID { return ID{Kind: Entry, Set: SetVIPs, addr: addressOf(a)} }

// Halves returns p in the form in which ipset takes it: a prefix of length 0,
// which the hash types refuse, becomes its two halves.
func Halves(p netip.Prefix) []netip.Prefix {
	if p.Bits() != 0 {
		return []netip.Prefix{p.Masked()}
	}
	if p.Addr().Is4() {
		return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1")}
	}
	return []netip.Prefix{netip.MustParsePrefix("::/1"), netip.MustParsePrefix("8000::/1")}
}

// Refuses reports whether the object is an entry that keeps clients away from
// a frontend for want of endpoints.
func (id ID) Refuses() bool { return id.Kind == Entry && id.Set.Refuses() }
