package model

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/netutil/ipfamily"
)

// candidate is an endpoint for one port of a service.
type candidate struct {
	at     netip.AddrPort
	weight uint32 // of its slice
	*endpoint
}

func (m *Model) view(e *entry) View {
	s := e.service
	n := len(s.Ports)
	m.endpoints, m.cluster, m.serving = slices.Grow(m.endpoints[:0], 2*n), m.cluster[:0], m.serving[:0]
	both := m.endpoints[:2*n]
	clear(both)
	v := View{Service: s, Origin: e.origin.Value(), Endpoints: [2][]Endpoints{both[:n:n], both[n:]}}
	for _, a := range s.ClusterIPs {
		family := ipfamily.Of(a)
		into := v.Endpoints[family]
		var ready map[netip.Addr]bool
		for i := range s.Ports {
			m.gather(e.slices, &s.Ports[i], family)
			into[i] = m.categorize()
			into[i].ClusterWeights = m.weigh(s.Balance.Weights, into[i].Cluster)
			into[i].LocalWeights = m.weigh(s.Balance.Weights, into[i].Local)
			if s.Ports[i].Protocol == corev1.ProtocolUDP {
				into[i].Serving = m.answering()
			}
			ready = m.countReady(ready)
		}
		v.LocalReady[family] = len(ready)
		if len(s.ClusterIPs) == 1 { // requests by the other family ask for this one
			v.LocalReady = [2]int{len(ready), len(ready)}
		}
	}
	clear(m.judged)
	m.weighed = m.weighed[:0]
	clear(m.candidates) // they must not keep deleted slices in memory
	return v
}

// gather sets m.candidates to all endpoints of a port and a family, sorted and without
// duplicates.
func (m *Model) gather(first *slice, p *Port, family ipfamily.Family) {
	all := m.candidates[:0]
	for s := first; s != nil; s = s.next {
		if s.family != family {
			continue
		}
		port := s.port(p)
		if port == 0 {
			continue
		}
		for i := range s.endpoints {
			e := &s.endpoints[i]
			all = append(all, candidate{netip.AddrPortFrom(s.addr(e), port), s.weight, e})
		}
	}
	// Stable, so that the names of slices decide between equals, and not the order of events.
	slices.SortStableFunc(all, func(a, b candidate) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return b.worth() - a.worth()
	})
	m.candidates = slices.CompactFunc(all, func(a, b candidate) bool { return a.at == b.at })
}

// worth orders entries of the same address and port: while a pod moves from one slice to
// another, both may have it, in different states.
func (e *endpoint) worth() int {
	w := 0
	if !e.terminating {
		w += 4
	}
	if e.ready {
		w += 2
	}
	if e.serving {
		w++
	}
	return w
}

// categorize picks the endpoints of one port for both traffic policies. It decides as
// kube-proxy's function CategorizeEndpoints does:
//
//	an endpoint that is               policy Cluster takes it         policy Local takes it
//	ready                             if it is near, see topology     if it is on this node
//	not ready, serving, terminating   if no ready endpoint is near    if it is on this node, and no ready one is
//	none of these                     never                           never
//
// Which frontends have which policy: those of node ports and of external and load-balancer IPs
// go by spec.externalTrafficPolicy, ClusterIPs by spec.internalTrafficPolicy (KEP-2086).
// Terminating endpoints are of KEP-1669. A frontend without endpoints is refused unless Any.
func (m *Model) categorize() Endpoints {
	var out Endpoints
	near := m.topology()
	from := len(m.cluster)
	var leaving, leavingLocal []netip.AddrPort
	for i := range m.candidates {
		c := &m.candidates[i]
		cluster, local := m.reasons(c.endpoint, near)
		if m.local(c.endpoint) {
			out.OnNode = append(out.OnNode, c.at)
		}
		switch cluster {
		case Chosen:
			out.Any = true
			m.cluster = append(m.cluster, c.at)
		case OtherNode, OtherZone:
			out.Any = true
		case Leaving:
			out.Any = true
			leaving = append(leaving, c.at)
		}
		switch local {
		case Chosen:
			out.Local = append(out.Local, c.at)
		case Leaving:
			leavingLocal = append(leavingLocal, c.at)
		}
	}
	if out.Cluster = slices.Clip(m.cluster[from:]); len(out.Cluster) == 0 {
		out.Cluster = leaving
	}
	if len(out.Local) == 0 {
		out.Local = leavingLocal
	}
	return out
}

// answering returns the candidates that answer, under any policy and hint.
func (m *Model) answering() []netip.AddrPort {
	from := len(m.serving)
	for i := range m.candidates {
		if c := &m.candidates[i]; c.ready || c.serving {
			m.serving = append(m.serving, c.at)
		}
	}
	return slices.Clip(m.serving[from:])
}

// reasons returns the Reason for policy Cluster and for policy Local. Leaving endpoints are
// chosen only if no ready one is.
func (m *Model) reasons(e *endpoint, near vicinity) (cluster, local Reason) {
	switch {
	case !e.ready && e.serving && e.terminating:
		cluster = Leaving
	case !e.ready && e.terminating:
		cluster = Gone
	case !e.ready:
		cluster = NotReady
	case near.has(m, e):
		cluster = Chosen
	case near == hintNode:
		cluster = OtherNode
	default:
		cluster = OtherZone
	}
	switch {
	case !m.local(e):
		return cluster, NotLocal
	case e.ready:
		return cluster, Chosen
	}
	return cluster, cluster
}

func (m *Model) local(e *endpoint) bool { return e.node == m.nodeName && e.node != noName }

// vicinity says how near an endpoint must be.
type vicinity uint8

const (
	anywhere vicinity = iota
	hintNode          // its hints name this node
	hintZone          // its hints name the zone of this node
)

func (v vicinity) has(m *Model, e *endpoint) bool {
	switch v {
	case hintNode:
		return lists(e.forNodes, m.nodeName)
	case hintZone:
		return lists(e.forZones, m.zone)
	}
	return true
}

// topology returns which of the ready candidates are near enough: those whose hints name
// this node (trafficDistribution PreferSameNode, KEP-3015), else those whose hints name its
// zone (PreferSameZone, PreferClose, and topology-aware routing, KEP-2433), else all. Hints
// count only if all ready candidates have them and some name this node or zone: half of the
// hints would send all traffic to half of the endpoints.
func (m *Model) topology() vicinity {
	hintsNode, hintsZone, thisNode, thisZone := true, true, false, false
	for i := range m.candidates {
		c := &m.candidates[i]
		if !c.ready {
			continue
		}
		hintsNode = hintsNode && c.forNodes != noName
		hintsZone = hintsZone && c.forZones != noName
		thisNode = thisNode || lists(c.forNodes, m.nodeName)
		thisZone = thisZone || lists(c.forZones, m.zone)
	}
	switch {
	case hintsNode && thisNode:
		return hintNode
	case hintsZone && thisZone:
		return hintZone
	}
	return anywhere
}

// countReady adds the addresses of ready candidates on this node. With
// publishNotReadyAddresses some are terminating, too: they get connections.
func (m *Model) countReady(into map[netip.Addr]bool) map[netip.Addr]bool {
	for i := range m.candidates {
		c := &m.candidates[i]
		if c.ready && m.local(c.endpoint) {
			if into == nil {
				into = map[netip.Addr]bool{}
			}
			into[c.at.Addr()] = true
		}
	}
	return into
}
