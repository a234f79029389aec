package proxier

import (
	"context"
	"slices"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// probeSchedulers asks the kernel for schedulers that Services name and that
// were not asked for before; with again, also for those that were missing.
func (p *Proxier) probeSchedulers(ctx context.Context, keys []model.Key, again bool) {
	if again {
		for name, err := range p.schedulers {
			if err == nil {
				continue
			}
			if p.schedulers[name] = p.kernel.ProbeScheduler(ctx, name); p.schedulers[name] == nil {
				p.model.SetAllDirty()
			}
		}
	}
	var fresh map[string]bool
	for _, k := range keys {
		s, ok := p.model.Service(k)
		if !ok || !slices.Contains(state.Schedulers, s.Scheduler) {
			continue // the default's was probed at the start, and what is none of the kernel's never is
		}
		if _, known := p.schedulers[s.Scheduler]; !known {
			if fresh == nil {
				fresh = map[string]bool{}
			}
			fresh[s.Scheduler] = true
		}
	}
	if fresh != nil {
		p.probe(ctx, fresh)
	}
}

// probe asks the kernel only where no virtual server of ours is the proof. It
// goes through them once for all names, and so a few times in the process's life.
func (p *Proxier) probe(ctx context.Context, names map[string]bool) {
	for id, spec := range p.ledger.Actual().All() {
		if len(names) == 0 {
			return
		}
		if id.Kind != state.VirtualServer {
			continue
		}
		if name := spec.Value().Scheduler; names[name] {
			p.schedulers[name] = nil
			delete(names, name)
		}
	}
	for name := range names {
		p.schedulers[name] = p.kernel.ProbeScheduler(ctx, name)
	}
}

// sameFacts reports whether the two have the same rendered.
func sameFacts(a, b state.Facts) bool {
	return slices.Equal(a.NodeIPs, b.NodeIPs) && a.MTU == b.MTU && a.NoIPv6 == b.NoIPv6 && a.NoVIPv6 == b.NoVIPv6 && a.NoDevice == b.NoDevice
}
