package main

import (
	"errors"
	"fmt"
	"sync"

	"kube-ipvs/proxier"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/health"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// meter reads the kernel's tables and refusals for the metrics. Two collectors
// may ask at once.
type meter struct {
	mu      sync.Mutex
	kernel  *kernel.Meter
	proxier *proxier.Proxier
	config  desired.Config
}

// Tables is part of health.TablesReader.
func (m *meter) Tables() ([]health.Table, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	tracked, errTracked := m.kernel.Conntrack()
	sets, errSets := m.kernel.Sets()
	var out []health.Table
	if errTracked == nil {
		out = append(out, health.Table{Entries: tracked.Entries, Limit: tracked.Limit})
	} else {
		errTracked = fmt.Errorf("connections: %w", errTracked)
	}
	for id, fill := range sets {
		out = append(out, health.Table{Set: id.Set.Kernel(id.Addr()), Entries: fill.Entries, Limit: fill.Limit})
	}
	return out, errors.Join(errTracked, errSets)
}

// Refused is part of health.RefusedReader.
func (m *meter) Refused() ([]health.Refused, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []health.Refused
	err := m.kernel.Refused(func(entry state.ID, packets uint64) {
		r := health.Refused{Of: entry, Packets: packets, Elsewhere: entry.Set != state.SetReject && entry.Set != state.SetNodePortReject}
		if s, ok := m.served(entry); ok {
			r.Namespace, r.Service, r.Port = s.Namespace, s.Name, s.Port
		}
		out = append(out, r)
	})
	return out, err
}

// served returns whose frontend an entry refuses: that of the virtual server
// which it would lead to.
func (m *meter) served(entry state.ID) (report.ServedPort, bool) {
	sets := []state.SetName{state.SetCluster, state.SetExternal}
	if entry.Set == state.SetNodePortReject || entry.Set == state.SetNodePortNoLocal {
		sets = []state.SetName{state.SetNodePort}
	}
	for _, set := range sets {
		entry.Set = set
		for _, server := range m.config.Servers(entry) {
			if s, ok := m.proxier.Served(server); ok {
				return s, true
			}
		}
	}
	return report.ServedPort{}, false
}
