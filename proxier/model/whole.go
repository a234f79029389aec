package model

// SetAllDirty makes every service dirty: something that all Views are used
// with has changed.
func (m *Model) SetAllDirty() {
	for key, e := range m.services {
		if e.service != nil {
			m.dirty[key] = true
		}
	}
}

// First returns the services that everything else in a cluster needs to come
// up: the API server's and DNS.
func (m *Model) First() []Key {
	var first []Key
	for key, e := range m.services {
		if e.service != nil && m.rank(key) != 0 {
			first = append(first, key)
		}
	}
	return m.sorted(first)
}
