package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// Served collects what clients dial, to find out which rules are about it.
type Served struct {
	node  []netip.Addr // the node's addresses
	all   []dialled
	known map[string]bool // what MayHit has said
}

type dialled struct {
	addr  netip.Addr
	port  uint16
	proto state.Protocol
}

// NewServed begins with the addresses of the node, at which node ports are dialled.
func NewServed(node []netip.Addr) *Served { return &Served{node: node} }

// Add takes in an object that is wanted or there; all but frontends do not matter.
func (s *Served) Add(id state.ID) {
	if id.Kind != state.Entry {
		return
	}
	switch id.Set {
	case state.SetAll:
		s.all = append(s.all, dialled{id.Addr(), id.Port, id.Proto})
	case state.SetNodePort, state.SetNodePortLocal:
		net := netip.PrefixFrom(id.Addr(), int(id.Bits))
		for _, a := range s.node {
			if net.Contains(a) {
				s.all = append(s.all, dialled{a, id.Port, id.Proto})
			}
		}
	}
	s.known = nil
}

// mayHit reports whether a rule with such a reach is about something that clients dial.
func (s *Served) mayHit(r netutil.Reach) bool {
	if s.known == nil {
		slices.SortFunc(s.all, func(a, b dialled) int { return a.addr.Compare(b.addr) })
		s.known = map[string]bool{}
	}
	key := fmt.Sprint(r)
	hit, known := s.known[key]
	if !known {
		hit = slices.ContainsFunc(s.in(r.Dst), func(d dialled) bool {
			return (r.Protocol == "" || r.Protocol == d.proto.String()) && (r.Ports == nil ||
				slices.ContainsFunc(r.Ports, func(p netutil.PortRange) bool { return p.First <= d.port && d.port <= p.Last }))
		})
		s.known[key] = hit
	}
	return hit
}

// in returns those at addresses in a prefix, which stand together.
func (s *Served) in(p netip.Prefix) []dialled {
	if !p.IsValid() {
		return s.all
	}
	from := sort.Search(len(s.all), func(i int) bool { return s.all[i].addr.Compare(p.Masked().Addr()) >= 0 })
	n := sort.Search(len(s.all)-from, func(i int) bool { return !p.Contains(s.all[from+i].addr) })
	return s.all[from : from+n]
}

// mostDenials is how many rules Denials returns.
const mostDenials = 20

// Denials returns rules of others in filter INPUT that drop or reject packets to what is
// served, as they are there now: in kube-proxy's mode ipvs such packets come to INPUT,
// with kube-ipvs, as in its other modes, they are accepted before. Those that come with
// Kubernetes or a network plugin are none of the operator's. They are named by the variant
// of iptables, twenty at the most; more says how many others there are.
func Denials(ctx context.Context, s *Served) (named []string, more int, err error) {
	backends, err := netutil.Backends(ctx)
	if err != nil {
		return nil, 0, err
	}
	leaveOut := func(chain string) bool {
		return slices.ContainsFunc([]string{"KIPVS", "KUBE-", "cali-", "CILIUM_", "FLANNEL-"}, func(p string) bool { return strings.HasPrefix(chain, p) })
	}
	for _, b := range backends {
		for family, tool := range map[int]string{4: "iptables", 6: "ip6tables"} {
			found, err := b.Denials(ctx, family, "INPUT", leaveOut, s.mayHit)
			if err != nil {
				return nil, 0, err
			}
			for _, rule := range found {
				named = append(named, fmt.Sprintf("%s-%s %s", tool, b, rule))
			}
		}
	}
	slices.Sort(named)
	n := min(len(named), mostDenials)
	return named[:n], len(named) - n, nil
}

// ServedNow returns what the node serves, read from the kernel.
func ServedNow(ctx context.Context) (*Served, error) {
	v := NewView(netutil.HasIPv6())
	defer v.Close()
	node, err := v.Addresses()
	if err != nil {
		return nil, err
	}
	s := NewServed(node)
	return s, v.Frontends(ctx, func(id state.ID, _ state.SpecRef) { s.Add(id) })
}
