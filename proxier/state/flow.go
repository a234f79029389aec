package state

import (
	"net/netip"
	"slices"
	"strings"
)

// FlowID names the conntrack entries of clients that dial the frontend at to.
func FlowID(proto Protocol, to netip.AddrPort) ID {
	return ID{Kind: Flow, Proto: proto, addr: addressOf(to.Addr()), Port: to.Port()}
}

// Flows names the conntrack entries of clients that dial the frontend of a set entry. For
// a node port these go to the node's addresses in the entry's network.
func (id ID) Flows() ID {
	return ID{Kind: Flow, Proto: id.Proto, addr: id.addr, Bits: id.Bits, Port: id.Port}
}

// Network returns the network of a Flow to a node port; it is invalid for other Flows.
func (id ID) Network() netip.Prefix {
	if id.Bits == 0 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(id.Addr(), int(id.Bits))
}

// Answering returns the Spec of a Flow that only the given endpoints may answer. They must
// be sorted.
func Answering(endpoints []netip.AddrPort) SpecRef {
	var text []byte
	for i, e := range endpoints {
		if i > 0 {
			text = append(text, ' ')
		}
		text = e.AppendTo(text)
	}
	return Intern(Spec{Text: string(text)})
}

// Answers returns the endpoints of Answering.
func (r SpecRef) Answers() []netip.AddrPort {
	var out []netip.AddrPort
	for text := range strings.FieldsSeq(r.Value().Text) {
		if e, err := netip.ParseAddrPort(text); err == nil {
			out = append(out, e)
		}
	}
	return out
}

// Loses reports whether an endpoint may answer by r and not by now.
func (r SpecRef) Loses(now SpecRef) bool {
	if r.Equal(now) {
		return false
	}
	left := now.Answers()
	return slices.ContainsFunc(r.Answers(), func(e netip.AddrPort) bool {
		_, still := slices.BinarySearchFunc(left, e, netip.AddrPort.Compare)
		return !still
	})
}
