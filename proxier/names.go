package proxier

import (
	"sync"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// ServicePort names a port of a Service.
type ServicePort struct {
	model.Key
	Port string // its name, or its number if it has none
}

// names tells of virtual servers whose they are.
type names struct {
	mu      sync.RWMutex
	servers map[state.ID]ServicePort // nil: nobody asks
	of      map[model.Key][]state.ID
}

func newNames(wanted bool) *names {
	if !wanted {
		return &names{}
	}
	return &names{servers: map[state.ID]ServicePort{}, of: map[model.Key][]state.ID{}}
}

// update follows what was rendered.
func (n *names) update(c desired.Config, t *desired.Table, m *model.Model, keys []model.Key) {
	if n.servers == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, key := range keys {
		for _, id := range n.of[key] {
			if n.servers[id].Key == key {
				delete(n.servers, id)
			}
		}
		delete(n.of, key)
	}
	for _, key := range keys {
		s, ok := m.Service(key)
		if !ok {
			continue
		}
		t.VirtualServers(key, func(id state.ID) {
			n.servers[id] = ServicePort{key, c.PortOf(s, id)}
			n.of[key] = append(n.of[key], id)
		})
	}
}

// NameOf returns the port of a Service that a virtual server of ours stands
// for, with Config.Names. Safe from any goroutine.
func (p *Proxier) NameOf(server state.ID) (ServicePort, bool) {
	p.names.mu.RLock()
	defer p.names.mu.RUnlock()
	s, ok := p.names.servers[server]
	return s, ok
}
