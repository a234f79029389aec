package model

// SetAllDirty makes every service dirty: something that all Views are used
// with has changed.
func (m *Model) SetAllDirty() {
	for e := range m.services.All() {
		if e.service != nil {
			m.soil(e)
		}
	}
}

// First returns the services that everything else in a cluster needs to come
// up: the API server's and DNS.
func (m *Model) First() []Key {
	var first []Key
	for e := range m.services.All() {
		if e.service != nil && m.rank(e.key) != 0 {
			first = append(first, e.key)
		}
	}
	return m.sorted(first)
}

// IsFirst reports whether First names a service.
func (m *Model) IsFirst(key Key) bool { return m.rank(key) != 0 }
