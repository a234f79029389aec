package cluster

import (
	"cmp"
	"net/netip"
	"strconv"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Names has the Service port of each virtual server, and the pod of each endpoint, as a Cluster
// rendered and read them last. A nil Names has none. Served and PodOf are safe from any
// goroutine.
type Names struct {
	mu      sync.RWMutex
	servers map[state.ID]report.ServedPort
	of      map[model.Key][]state.ID
	pods    map[model.Key]map[string]map[netip.Addr]string // by Service and slice
	slices  map[model.Key]model.Key                        // the Service of each slice
}

// NewNames returns Names for one Cluster.
func NewNames() *Names {
	return &Names{
		servers: map[state.ID]report.ServedPort{}, of: map[model.Key][]state.ID{},
		pods: map[model.Key]map[string]map[netip.Addr]string{}, slices: map[model.Key]model.Key{},
	}
}

// update takes the names of the rendered Services.
func (n *Names) update(c desired.Config, t *desired.Table, m *model.Model, keys []model.Key) {
	if n == nil {
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
		t.Served(s, func(id state.ID, p model.Port, reach desired.Reach) {
			n.servers[id] = report.ServedPort{Key: key, Port: cmp.Or(p.Name, strconv.Itoa(int(p.Port))), Reach: reach, Whole: c.SeesAll(id)}
			n.of[key] = append(n.of[key], id)
		})
	}
}

// slice takes the pods of an EndpointSlice.
func (n *Names) slice(s *discoveryv1.EndpointSlice, deleted bool) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	name := model.Key{Namespace: s.Namespace, Name: s.Name}
	if old, had := n.slices[name]; had {
		delete(n.slices, name)
		if delete(n.pods[old], s.Name); len(n.pods[old]) == 0 {
			delete(n.pods, old)
		}
	}
	service := model.Key{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
	if deleted || service.Name == "" {
		return
	}
	pods := map[netip.Addr]string{}
	for _, e := range s.Endpoints {
		if e.TargetRef == nil || e.TargetRef.Kind != "Pod" || len(e.Addresses) == 0 {
			continue
		}
		if a, ok := model.ParseAddr(e.Addresses[0]); ok {
			pods[a] = e.TargetRef.Name
		}
	}
	if len(pods) == 0 {
		return
	}
	n.slices[name] = service
	if n.pods[service] == nil {
		n.pods[service] = map[string]map[netip.Addr]string{}
	}
	n.pods[service][s.Name] = pods
}

// Served returns the Service port of a virtual server of kube-ipvs.
func (n *Names) Served(server state.ID) (report.ServedPort, bool) {
	if n == nil {
		return report.ServedPort{}, false
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	s, ok := n.servers[server]
	return s, ok
}

// PodOf returns the pod of a Service's endpoint, or "" if it is unknown.
func (n *Names) PodOf(service model.Key, endpoint netip.Addr) string {
	if n == nil {
		return ""
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, pods := range n.pods[service] {
		if name := pods[endpoint]; name != "" {
			return name
		}
	}
	return ""
}
