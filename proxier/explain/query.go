package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Query says what to explain: a Service, or an address that clients dial.
type Query struct {
	Service model.Key      // zero: explain At
	Port    string         // of the Service, by name or number; empty: all
	At      netip.AddrPort // invalid: explain Service
	Proto   state.Protocol // of the address; 0: any
}

// ParseQuery parses NAMESPACE/NAME[:PORT] or IP:PORT[/PROTOCOL], with an IPv6 address in
// brackets. Its error names the fault.
func ParseQuery(text string) (Query, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return Query{}, fmt.Errorf("%q has no port: write %s", text, netip.AddrPortFrom(a, 80))
	}
	address, proto, hasProto := text, "", false
	if i := strings.LastIndexByte(text, '/'); i >= 0 {
		address, proto, hasProto = text[:i], text[i+1:], true
	}
	if at, err := netip.ParseAddrPort(address); err == nil {
		q := Query{At: netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())}
		if hasProto {
			if q.Proto = parseProtocol(proto); q.Proto == 0 {
				return Query{}, fmt.Errorf("%q names %q, which is not tcp, udp or sctp", text, proto)
			}
		}
		return q, nil
	}
	namespace, name, ok := strings.Cut(text, "/")
	name, port, hasPort := strings.Cut(name, ":")
	if !ok || namespace == "" || name == "" || strings.ContainsAny(namespace+name+port, "/:[] ") || hasPort && port == "" {
		return Query{}, fmt.Errorf("%q is neither NAMESPACE/NAME[:PORT] nor IP:PORT[/PROTOCOL]", text)
	}
	return Query{Service: model.Key{Namespace: namespace, Name: name}, Port: port}, nil
}

func parseProtocol(s string) state.Protocol {
	for _, p := range []state.Protocol{state.TCP, state.UDP, state.SCTP} {
		if strings.EqualFold(s, p.String()) {
			return p
		}
	}
	return 0
}

// find returns the Service of the query, and its frontends that the query asks for. Its error
// names the nearest Services or ports.
func (n *Node) find(q Query) (*model.Service, []desired.Frontend, error) {
	if q.At.IsValid() {
		return n.findAddress(q)
	}
	s, ok := n.Model.Service(q.Service)
	if !ok {
		return nil, nil, n.unknown(q.Service)
	}
	all := n.Table.Frontends(s)
	if q.Port == "" {
		return s, all, nil
	}
	found := slices.DeleteFunc(slices.Clone(all), func(f desired.Frontend) bool { return !isPort(&s.Ports[f.Port], q.Port) })
	if !slices.ContainsFunc(s.Ports, func(p model.Port) bool { return isPort(&p, q.Port) }) {
		return nil, nil, fmt.Errorf("service %s has no port %q; it has %s", s.Key, q.Port, ports(s))
	}
	return s, found, nil
}

// unknown returns why the Service cannot be explained.
func (n *Node) unknown(key model.Key) error {
	for _, p := range n.Problems {
		if p.Object == "Service "+key.String() {
			return fmt.Errorf("service %s is not served: %s", key, p)
		}
	}
	return fmt.Errorf("kube-ipvs serves no Service %s: it does not exist, or is headless, an ExternalName or another proxy's", key)
}

func isPort(p *model.Port, text string) bool {
	return p.Name == text || strconv.Itoa(int(p.Port)) == text
}

func ports(s *model.Service) string {
	var out []string
	for i := range s.Ports {
		out = append(out, portName(&s.Ports[i]))
	}
	return strings.Join(out, ", ")
}

// portName returns a port as messages name it: http (80/tcp).
func portName(p *model.Port) string {
	text := fmt.Sprintf("%d/%s", p.Port, strings.ToLower(string(p.Protocol)))
	if p.NodePort != 0 {
		text += fmt.Sprintf(", node port %d", p.NodePort)
	}
	if p.Name == "" {
		return text
	}
	return p.Name + " (" + text + ")"
}

// findAddress returns the Service and the frontends that serve an address.
func (n *Node) findAddress(q Query) (*model.Service, []desired.Frontend, error) {
	var service *model.Service
	var found []desired.Frontend
	var near []string // Services that have the address with another port
	rival := ""       // a Service that has it with another protocol
	for _, key := range n.Model.Keys() {
		s, _ := n.Model.Service(key)
		has := false
		for _, f := range n.Table.Frontends(s) {
			if f.Lost != (model.Key{}) {
				continue
			}
			if n.serves(&f, q) {
				if service != nil && service != s {
					rival = fmt.Sprintf("Service %s has it with %s, Service %s with %s", service.Key, found[0].Proto, s.Key, f.Proto)
				}
				service, found = s, append(found, f)
			}
			has = has || f.Reach != desired.NodePort && f.Addr.Addr() == q.At.Addr()
		}
		if has {
			near = append(near, fmt.Sprintf("Service %s has %s with %s", key, q.At.Addr(), ports(s)))
		}
	}
	what := q.At.String()
	if q.Proto != 0 {
		what += "/" + q.Proto.String()
	}
	switch {
	case rival != "":
		return nil, nil, fmt.Errorf("%s belongs to two Services: %s; write %s/%s", what, rival, what, found[0].Proto)
	case found != nil:
		return service, found, nil
	case n.Config.Reserved(q.At.Addr()) != "":
		return nil, nil, fmt.Errorf("%s is a mapped address, which clients do not dial: %s", what, n.dialledOf(q))
	case near != nil:
		return nil, nil, fmt.Errorf("no Service has %s; %s", what, strings.Join(near, "; "))
	case n.isLocal(q.At.Addr()):
		return nil, nil, fmt.Errorf("no Service has %s: the address is this node's, and no Service has that node port there", what)
	}
	return nil, nil, fmt.Errorf("no Service has %s", what)
}

// dialledOf returns the frontend behind a mapped address, as a text that says what to ask for.
func (n *Node) dialledOf(q Query) string {
	for _, key := range n.Model.Keys() {
		s, _ := n.Model.Service(key)
		for _, f := range n.Table.Frontends(s) {
			for _, server := range []state.ID{f.Server, f.LocalServer} {
				if server == (state.ID{}) || server.AddrPort() != q.At || q.Proto != 0 && q.Proto != server.Proto || f.Lost != (model.Key{}) {
					continue
				}
				ask := f.Addr.String()
				if f.Reach == desired.NodePort {
					ask = key.String()
				}
				return fmt.Sprintf("it stands for %s of Service %s; ask for %s", f, key, ask)
			}
		}
	}
	return "no virtual server of a Service stands there"
}

// serves reports whether the frontend serves the address of q.
func (n *Node) serves(f *desired.Frontend, q Query) bool {
	switch {
	case q.Proto != 0 && q.Proto != f.Proto, f.Addr.Port() != q.At.Port():
		return false
	case f.Reach != desired.NodePort:
		return f.Addr.Addr() == q.At.Addr()
	case f.Family() != state.FamilyOf(q.At.Addr()) || !n.isLocal(q.At.Addr()) || n.Actual.Has(state.VIPID(q.At.Addr())):
		return false
	}
	return slices.ContainsFunc(f.Networks, func(p netip.Prefix) bool { return p.Contains(q.At.Addr()) })
}

// isLocal reports whether the address is loopback or on a link of the node.
func (n *Node) isLocal(a netip.Addr) bool { return a.IsLoopback() || slices.Contains(n.Addresses, a) }
