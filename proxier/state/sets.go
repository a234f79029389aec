package state

import (
	"net/netip"
)

// SetName is one of the sets that the rules look into. Each family has one of each.
type SetName uint8

// The sets. A frontend is an address, protocol and port that clients dial.
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
	SetVIPs                               // the VIPs of kube-ipvs
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

// setUse is the effect of the entries of a set on a frontend.
type setUse uint8

const (
	useNone    setUse = iota // none
	useOwn                   // marks an address as a VIP of kube-ipvs
	useAllow                 // lets a network reach a filtered frontend
	useFilter                // keeps all other clients away from it
	useRefuse                // refuses clients of a frontend for want of endpoints
	useName                  // names the Service port of a frontend
	usePublish               // makes a frontend answer
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

// Prefixes of the names of kube-ipvs's sets and chains in the kernel. No other program may
// use them.
const (
	Prefix4 = "KIPVS-"
	Prefix6 = "KIPVS6-"
)

// Kernel returns the set's name in the kernel for a family.
func (n SetName) Kernel(family Family) string {
	if family == IPv4 {
		return setTable[n].name
	}
	return Prefix6 + setTable[n].name[len(Prefix4):]
}

// Type returns the set's type.
func (n SetName) Type() SetType { return setTable[n].kind }

// Comments reports whether entries have the name of their Service port as comment, so
// that a node explains itself without a running daemon.
func (n SetName) Comments() bool { return setTable[n].comments }

// Refuses reports whether entries refuse clients of a frontend for want of endpoints. The
// kernel counts the packets that match them.
func (n SetName) Refuses() bool { return setTable[n].use == useRefuse }

// Publishes reports whether an entry of the set makes a frontend answer.
func (n SetName) Publishes() bool { return setTable[n].use == usePublish }

// EntryID names the address, protocol and port in a set of type hash:ip,port.
func EntryID(set SetName, proto Protocol, addr netip.AddrPort) ID {
	return ID{Kind: Entry, Set: set, Proto: proto, addr: addressOf(addr.Addr()), Port: addr.Port()}
}

// MemberID names an entry as the kernel lists it. peer and bits are zero for sets without
// them.
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

// Halves returns p in the form that ipset takes: a prefix of length 0, which the hash
// types refuse, becomes its two halves.
func Halves(p netip.Prefix) []netip.Prefix {
	if p.Bits() != 0 {
		return []netip.Prefix{p.Masked()}
	}
	if p.Addr().Is4() {
		return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1")}
	}
	return []netip.Prefix{netip.MustParsePrefix("::/1"), netip.MustParsePrefix("8000::/1")}
}

// Refuses reports whether the object is an entry that refuses clients of a frontend for
// want of endpoints.
func (id ID) Refuses() bool { return id.Kind == Entry && id.Set.Refuses() }
