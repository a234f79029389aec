package model

// SetAllDirty makes every service dirty, since a setting that all of them depend on has
// changed.
func (m *Model) SetAllDirty() {
	for e := range m.services.All() {
		if e.service != nil {
			m.markDirty(e)
		}
	}
}

// First returns the services that all others in a cluster need: default/kubernetes and DNS.
func (m *Model) First() []Key {
	var first []Key
	for e := range m.services.All() {
		if e.service != nil && m.rank(e.key) != 0 {
			first = append(first, e.key)
		}
	}
	return m.sorted(first)
}

// IsFirst reports whether First returns a service.
func (m *Model) IsFirst(key Key) bool { return m.rank(key) != 0 }

// Objects estimates how many objects a Service needs in the kernel: each frontend has all
// endpoints, and each one of a load balancer also has the source ranges.
func (m *Model) Objects(key Key) int {
	e := m.services.Get(key)
	if e == nil || e.service == nil {
		return 0
	}
	const own = 4 // a virtual server, and entries of sets
	s, endpoints := e.service, 0
	for at := e.slices; at != nil; at = at.next {
		endpoints += len(at.endpoints)
	}
	each := own + endpoints
	frontends := 2*len(s.ClusterIPs) + len(s.ExternalIPs) + len(s.LoadBalancerIPs) // with node ports
	return len(s.Ports) * (frontends*each + len(s.LoadBalancerIPs)*len(s.SourceRanges))
}
