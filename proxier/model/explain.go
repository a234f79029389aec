package model

import (
	"cmp"
	"net/netip"
	"slices"

	"kube-ipvs/netutil/ipfamily"
)

// Reason says why an endpoint is chosen for a kind of virtual IP, or not.
type Reason uint8

// The reasons.
const (
	Chosen      Reason = iota // ready, and near enough
	LastResort                // terminating, still serving, and chosen since no ready one can be
	Leaving                   // terminating and still serving, but others are ready
	Gone                      // terminating and not serving
	NotReady                  // not ready
	OtherNode                 // all ready endpoints have hints for nodes, and this one is not for this node
	OtherZone                 // the same with zones
	NotLocal                  // on another or an unknown node, and policy Local takes those of this node only
	Duplicate                 // another slice, or an earlier entry, has the same address and port, in a better state
	NoPort                    // its slice does not have the port
	OtherFamily               // its slice is of a family in which the Service has no cluster IP
)

var reasonNames = [...]string{"chosen", "last-resort", "leaving", "gone", "not-ready", "other-node", "other-zone",
	"not-local", "duplicate", "no-port", "other-family"}

// String returns a stable word for programs.
func (r Reason) String() string { return reasonNames[r] }

// Chooses reports whether an endpoint with the reason is chosen.
func (r Reason) Chooses() bool { return r == Chosen || r == LastResort }

// Verdict is an endpoint of an EndpointSlice, with the Reason for one port of the Service on
// this node.
type Verdict struct {
	At                          netip.AddrPort // port 0 with NoPort and OtherFamily
	Slice                       string         // name of the EndpointSlice
	Node                        string         // empty: unknown
	Ready, Serving, Terminating bool
	ForNodes, ForZones          string // hints, separated by commas
	OnNode                      bool
	Cluster, Local              Reason // for virtual IPs with policy Cluster, and with policy Local
}

// Here returns this node, for which endpoints are chosen.
func (m *Model) Here() Node { return m.node }

// Verdicts returns every endpoint of every slice of a service, sorted by address, with the
// Reason why View has it or not for a port and a family. It costs more than View.
func (m *Model) Verdicts(key Key, port int, family ipfamily.Family) []Verdict {
	e := m.services.Get(key)
	if e == nil || e.service == nil || port < 0 || port >= len(e.service.Ports) {
		return nil
	}
	var out []Verdict
	if slices.ContainsFunc(e.service.ClusterIPs, func(a netip.Addr) bool { return ipfamily.Of(a) == family }) {
		m.gather(e.slices, &e.service.Ports[port], family)
		out = m.verdicts(e.slices, &e.service.Ports[port], family)
		clear(m.candidates)
	} else {
		for s := e.slices; s != nil; s = s.next {
			if s.family == family {
				out = s.unused(out, OtherFamily)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Verdict) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Slice, b.Slice))
	})
	return out
}

// verdicts judges the endpoints of a family's slices. Call gather before.
func (m *Model) verdicts(first *slice, p *Port, family ipfamily.Family) []Verdict {
	kept := map[candidate]bool{}
	for _, c := range m.candidates {
		kept[c] = true
	}
	near := m.topology()
	var out []Verdict
	for s := first; s != nil; s = s.next {
		if s.family != family {
			continue
		}
		port := s.port(p)
		if port == 0 {
			out = s.unused(out, NoPort)
			continue
		}
		for i := range s.endpoints {
			e := &s.endpoints[i]
			v := s.verdict(e, port)
			v.OnNode = m.local(e)
			v.Cluster, v.Local = m.reasons(e, near)
			if !kept[candidate{v.At, s.weight, e}] {
				v.Cluster, v.Local = Duplicate, Duplicate
			}
			out = append(out, v)
		}
	}
	lastResort(out, func(v *Verdict) *Reason { return &v.Cluster })
	lastResort(out, func(v *Verdict) *Reason { return &v.Local })
	return out
}

// lastResort chooses the leaving endpoints if no other one is chosen.
func lastResort(all []Verdict, of func(*Verdict) *Reason) {
	for i := range all {
		if *of(&all[i]) == Chosen {
			return
		}
	}
	for i := range all {
		if r := of(&all[i]); *r == Leaving {
			*r = LastResort
		}
	}
}

func (s *slice) verdict(e *endpoint, port uint16) Verdict {
	return Verdict{
		At: netip.AddrPortFrom(s.addr(e), port), Slice: s.key.Name, Node: e.node.Value(),
		Ready: e.ready, Serving: e.serving, Terminating: e.terminating, ForNodes: e.forNodes.Value(), ForZones: e.forZones.Value(),
	}
}

// unused appends the endpoints of s, none of which can be used.
func (s *slice) unused(to []Verdict, why Reason) []Verdict {
	for i := range s.endpoints {
		v := s.verdict(&s.endpoints[i], 0)
		v.Cluster, v.Local = why, why
		to = append(to, v)
	}
	return to
}

// SlicesOf returns the names of a service's EndpointSlices, sorted.
func (m *Model) SlicesOf(key Key) []string {
	var out []string
	if e := m.services.Get(key); e != nil {
		for s := e.slices; s != nil; s = s.next {
			out = append(out, s.key.Name)
		}
	}
	return out
}
