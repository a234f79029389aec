package explain

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/spelling"
	"kube-ipvs/proxier/state"
)

// match is a Service that a query asks for.
type match struct {
	service   *model.Service
	frontends []desired.Frontend
	dialled   netip.Addr // clients dial there; invalid: at the address of each frontend
	about     string     // as in Explanation.Asked
}

// find returns the Services of the query, each with the frontends that the query asks for. Its
// error names the nearest Services, ports or addresses.
func (n *Node) find(q Query) ([]match, error) {
	if q.Service == (model.Key{}) {
		return n.findAddress(q)
	}
	s, ok := n.Model.Service(q.Service)
	if !ok {
		return nil, n.unknown(q.Service)
	}
	all := n.Table.Frontends(s)
	if q.Port == "" {
		return []match{{service: s, frontends: all}}, nil
	}
	found := slices.DeleteFunc(slices.Clone(all), func(f desired.Frontend) bool { return !isPort(&s.Ports[f.Port], q.Port) })
	if !slices.ContainsFunc(s.Ports, func(p model.Port) bool { return isPort(&p, q.Port) }) {
		return nil, fmt.Errorf("service %s has no port %q; it has %s", s.Key, q.Port, ports(s))
	}
	return []match{{service: s, frontends: found}}, nil
}

// unknown returns why the Service cannot be explained, or which one may be meant.
func (n *Node) unknown(key model.Key) error {
	for _, p := range n.Problems {
		if p.Object == "Service "+key.String() {
			return fmt.Errorf("service %s is not served: %s", key, p)
		}
	}
	return fmt.Errorf("kube-ipvs serves no Service %s: it does not exist, or is headless, an ExternalName or another proxy's%s", key, Meant(key, n.Model.Keys()))
}

// Meant returns the question behind a message about an unknown Service, such as
// " (is default/web meant?)": it asks for those of served that have this name in other namespaces,
// or else for those with a name like it. It is empty if there are none.
func Meant(key model.Key, served []model.Key) string {
	const most = 3
	var all, same []string
	for _, k := range served {
		all = append(all, k.String())
		if k.Name == key.Name && len(same) < most {
			same = append(same, k.String())
		}
	}
	if same == nil {
		same = spelling.Nearest(key.String(), slices.Values(all))
	}
	return spelling.Question("", same)
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

// findAddress returns the Services that have an address: as one that clients dial, or else as a
// mapped address, or else as an endpoint.
func (n *Node) findAddress(q Query) ([]match, error) {
	for _, is := range []func(*model.Service, *desired.Frontend, Query) (about string, ok bool){n.dials, n.maps, n.endpoint} {
		var found []match
		n.each(func(s *model.Service, f *desired.Frontend) {
			about, ok := is(s, f, q)
			if !ok {
				return
			}
			if len(found) == 0 || found[len(found)-1].service != s {
				m := match{service: s, about: about}
				if about == "" {
					m.dialled = q.At.Addr()
				}
				found = append(found, m)
			}
			m := &found[len(found)-1]
			m.frontends = append(m.frontends, *f)
		})
		if found != nil {
			return found, nil
		}
	}
	return nil, n.nowhere(q)
}

// each calls do with all frontends that their Service has.
func (n *Node) each(do func(*model.Service, *desired.Frontend)) {
	for _, key := range n.Model.Keys() {
		s, _ := n.Model.Service(key)
		for _, f := range n.Table.Frontends(s) {
			if f.Lost == (model.Key{}) {
				do(s, &f)
			}
		}
	}
}

// fits reports whether an address with a port is that of q.
func (q Query) fits(at netip.AddrPort) bool {
	return at.Addr() == q.At.Addr() && (q.At.Port() == 0 || q.At.Port() == at.Port())
}

// dials reports whether clients that dial the address of q reach the frontend.
func (n *Node) dials(_ *model.Service, f *desired.Frontend, q Query) (about string, ok bool) {
	at := q.At.Addr()
	switch {
	case q.Proto != 0 && q.Proto != f.Proto:
		return "", false
	case f.Reach != desired.NodePort:
		return "", q.fits(f.Addr)
	case f.Addr.Port() != q.At.Port():
		return "", false
	case !at.IsValid():
		return "", true
	case f.Family() != state.FamilyOf(at) || !n.isLocal(at) || n.Actual.Has(state.VIPID(at)):
		return "", false
	}
	return "", slices.ContainsFunc(f.Networks, func(p netip.Prefix) bool { return p.Contains(at) })
}

// maps reports whether the address of q is a mapped address of the frontend.
func (n *Node) maps(_ *model.Service, f *desired.Frontend, q Query) (about string, ok bool) {
	if f.Reach == desired.NodePort && q.At.Port() == 0 { // one address is that of all node ports
		return "", false
	}
	for _, server := range []state.ID{f.Server, f.LocalServer} {
		if server != (state.ID{}) && q.fits(server.AddrPort()) && (q.Proto == 0 || q.Proto == server.Proto) {
			return fmt.Sprintf("%s is a mapped address, which clients do not dial: it stands for %s", q, f), true
		}
	}
	return "", false
}

// endpoint reports whether the address of q is an endpoint of the frontend's port.
func (n *Node) endpoint(s *model.Service, f *desired.Frontend, q Query) (about string, ok bool) {
	if q.Proto != 0 && q.Proto != f.Proto || !q.At.Addr().IsValid() || f.Family() != state.FamilyOf(q.At.Addr()) {
		return "", false
	}
	for _, v := range n.Model.Verdicts(s.Key, f.Port, f.Family()) {
		if v.At.Port() != 0 && q.fits(v.At) {
			return fmt.Sprintf("%s is an endpoint of the Service", q), true
		}
	}
	return "", false
}

// nowhere is the error of an address that no Service has. It names what is near.
func (n *Node) nowhere(q Query) error {
	at := q.At.Addr()
	near := n.near(q)
	switch {
	case at.IsValid() && n.Config.Reserved(at) != "":
		return fmt.Errorf("%s is a mapped address, which clients do not dial: no virtual server of a Service stands there", q)
	case near != nil:
		return fmt.Errorf("no Service has %s; %s", q, strings.Join(near, "; "))
	case at.IsValid() && n.isLocal(at) && q.At.Port() == 0:
		return fmt.Errorf("no Service has %s: the address is this node's; with a node port it may be one, such as %s", q, netip.AddrPortFrom(at, 30080))
	case at.IsValid() && n.isLocal(at):
		return fmt.Errorf("no Service has %s: the address is this node's, and no Service has that node port there", q)
	}
	return errors.New("no Service has " + q.String())
}

// near names the Services that have the address of q with another port or protocol, or its node
// port at other addresses.
func (n *Node) near(q Query) []string {
	var out []string
	other := q
	other.Proto, other.At = 0, netip.AddrPortFrom(q.At.Addr(), 0)
	n.each(func(s *model.Service, f *desired.Frontend) {
		text := ""
		if _, ok := n.endpoint(s, f, other); ok {
			text = fmt.Sprintf("%s is an endpoint of Service %s with another port or protocol", q.At.Addr(), s.Key)
		}
		switch {
		case f.Reach != desired.NodePort && q.At.Addr().IsValid() && other.fits(f.Addr):
			text = fmt.Sprintf("Service %s has %s with %s", s.Key, q.At.Addr(), ports(s))
		case f.Reach == desired.NodePort && f.Addr.Port() == q.At.Port():
			text = fmt.Sprintf("Service %s has %s", s.Key, f)
			if q.At.Addr().IsValid() {
				text += fmt.Sprintf(" at other addresses: ask for :%d", q.At.Port())
			}
		}
		if text != "" && !slices.Contains(out, text) {
			out = append(out, text)
		}
	})
	return out
}

// isLocal reports whether the address is loopback or on a link of the node.
func (n *Node) isLocal(a netip.Addr) bool { return a.IsLoopback() || slices.Contains(n.Addresses, a) }
