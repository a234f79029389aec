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

// Served collects the frontends that clients dial, to find the rules that concern them.
type Served struct {
	node  []netip.Addr // the node's addresses
	all   []dialled
	known map[string]bool // results of mayHit
}

type dialled struct {
	addr  netip.Addr
	port  uint16
	proto state.Protocol
}

// NewServed returns an empty Served. node are the addresses of the node, at which clients
// dial node ports.
func NewServed(node []netip.Addr) *Served { return &Served{node: node} }

// Add adds an object if it publishes a frontend; it ignores all others.
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

// mayHit reports whether a rule with this reach concerns a dialled frontend.
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

// in returns the frontends at addresses in a prefix: s.all is sorted by address.
func (s *Served) in(p netip.Prefix) []dialled {
	if !p.IsValid() {
		return s.all
	}
	from := sort.Search(len(s.all), func(i int) bool { return s.all[i].addr.Compare(p.Masked().Addr()) >= 0 })
	n := sort.Search(len(s.all)-from, func(i int) bool { return !p.Contains(s.all[from+i].addr) })
	return s.all[from : from+n]
}

// mostDenials is the most rules that Denials returns.
const mostDenials = 20

// Denials returns the present rules of the operator in filter INPUT that drop or reject
// packets to served frontends. In kube-proxy's mode ipvs such packets meet these rules;
// with kube-ipvs, as in kube-proxy's other modes, they are accepted before. Rules of
// Kubernetes and network plugins do not count. It names twenty rules at the most, with
// their variant of iptables; more is the number of others.
func Denials(ctx context.Context, s *Served) (named []string, more int, err error) {
	backends, err := netutil.Backends(ctx)
	if err != nil {
		return nil, 0, err
	}
	leaveOut := func(chain string) bool {
		return slices.ContainsFunc([]string{"KIPVS", "KUBE-", "cali-", "CILIUM_", "FLANNEL-"}, func(p string) bool { return strings.HasPrefix(chain, p) })
	}
	for _, b := range backends {
		for _, family := range state.Families(true) {
			found, err := b.Denials(ctx, family, "INPUT", leaveOut, s.mayHit)
			if err != nil {
				return nil, 0, err
			}
			for _, rule := range found {
				named = append(named, fmt.Sprintf("%s-%s %s", family.Tool(), b, rule))
			}
		}
	}
	slices.Sort(named)
	n := min(len(named), mostDenials)
	return named[:n], len(named) - n, nil
}

// ServedNow returns the frontends that the node serves, read from the kernel.
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
