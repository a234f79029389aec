package cluster

import (
	"context"
	"slices"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// probeSchedulers asks the kernel for each new scheduler that Services name; with again, also
// for those that were missing.
func (c *Cluster) probeSchedulers(ctx context.Context, actual *state.State, keys []model.Key, again bool) {
	if again {
		for name, err := range c.schedulers {
			if err == nil {
				continue
			}
			if c.schedulers[name] = c.kernel.ProbeScheduler(ctx, name); c.schedulers[name] == nil {
				c.model.SetAllDirty()
			}
		}
	}
	var fresh map[string]bool
	for _, k := range keys {
		s, ok := c.model.Service(k)
		if !ok {
			continue
		}
		for _, name := range c.needs(s) {
			if _, known := c.schedulers[name]; !known && slices.Contains(state.Schedulers, name) {
				if fresh == nil {
					fresh = map[string]bool{}
				}
				fresh[name] = true
			}
		}
	}
	if fresh != nil {
		c.probe(ctx, actual, fresh)
	}
}

// needs returns the schedulers that a Service needs. The start has probed the default. An
// unknown name, which is among them, is never probed.
func (c *Cluster) needs(s *model.Service) []string {
	name := s.Balance.Scheduler.Name
	if !s.Balance.Weighted() {
		if name == "" {
			return nil
		}
		return []string{name}
	}
	ofDefault, _ := state.WeightedScheduler(c.settings.now.Scheduler)
	weighted, _ := state.WeightedScheduler(name)
	return []string{name, weighted, ofDefault}
}

// probe asks the kernel for the schedulers that no virtual server in actual proves. It looks
// through actual once for all names, and so only a few times in the process's life.
func (c *Cluster) probe(ctx context.Context, actual *state.State, names map[string]bool) {
	for id, spec := range actual.All() {
		if len(names) == 0 {
			return
		}
		if id.Kind != state.VirtualServer {
			continue
		}
		if name := spec.Value().Scheduler; names[name] {
			c.schedulers[name] = nil
			delete(names, name)
		}
	}
	for name := range names {
		c.schedulers[name] = c.kernel.ProbeScheduler(ctx, name)
	}
}
