package explain

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Query says what to explain: a Service, or an address.
type Query struct {
	Service model.Key      // zero: explain At
	Port    string         // of the Service, by name or number; empty: all
	At      netip.AddrPort // port 0: any; an invalid address: any address with that node port
	Proto   state.Protocol // of the address; 0: any
}

// String returns the address as a user writes it.
func (q Query) String() string {
	text := ""
	switch at := q.At; {
	case !at.Addr().IsValid():
		text = fmt.Sprintf(":%d", at.Port())
	case at.Port() == 0:
		text = at.Addr().String()
	default:
		text = at.String()
	}
	if q.Proto != 0 {
		text += "/" + q.Proto.String()
	}
	return text
}

// ParseQuery parses NAMESPACE/NAME[:PORT], IP[:PORT][/PROTOCOL], with an IPv6 address and its port
// as [IP]:PORT, or :NODEPORT[/PROTOCOL]. Its error names the fault.
func ParseQuery(text string) (Query, error) {
	address, proto := text, ""
	i := strings.LastIndexByte(text, '/')
	if i >= 0 {
		address, proto = text[:i], text[i+1:]
	}
	if at, ok := parseAddress(address); ok {
		q := Query{At: at, Proto: parseProtocol(proto)}
		if i >= 0 && q.Proto == 0 {
			return Query{}, fmt.Errorf("%q names %q, which is not tcp, udp or sctp", text, proto)
		}
		return q, nil
	}
	namespace, name, ok := strings.Cut(text, "/")
	name, port, hasPort := strings.Cut(name, ":")
	if !ok || namespace == "" || name == "" || strings.ContainsAny(namespace+name+port, "/:[] ") || hasPort && port == "" {
		return Query{}, fmt.Errorf("%q is none of NAMESPACE/NAME[:PORT], IP[:PORT][/PROTOCOL] and :NODEPORT[/PROTOCOL]", text)
	}
	return Query{Service: model.Key{Namespace: namespace, Name: name}, Port: port}, nil
}

// parseAddress parses an address, a port behind a colon, or both.
func parseAddress(text string) (netip.AddrPort, bool) {
	if port, ok := strings.CutPrefix(text, ":"); ok {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			return netip.AddrPortFrom(netip.Addr{}, uint16(n)), true
		}
	}
	if at, err := netip.ParseAddrPort(text); err == nil {
		return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()), at.Port() > 0
	}
	bare := text
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		bare = text[1 : len(text)-1]
	}
	a, err := netip.ParseAddr(bare)
	return netip.AddrPortFrom(a.Unmap().WithZone(""), 0), err == nil
}

func parseProtocol(s string) state.Protocol {
	for _, p := range []state.Protocol{state.TCP, state.UDP, state.SCTP} {
		if strings.EqualFold(s, p.String()) {
			return p
		}
	}
	return 0
}
