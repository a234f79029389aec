package kernel

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"kube-ipvs/proxier/state"
)

// fakeFlows is conntrack in memory. Several goroutines may use it.
type fakeFlows struct {
	mu      sync.Mutex
	tracked map[int]Flow // by the order of their beginning
	began   int
	err     error
	onGone  func(Flow)
}

// Track adds a flow, as the first packet of a client does.
func (f *Fake) Track(flow Flow) {
	f.flows.mu.Lock()
	defer f.flows.mu.Unlock()
	if f.flows.tracked == nil {
		f.flows.tracked = map[int]Flow{}
	}
	f.flows.tracked[f.flows.began] = flow
	f.flows.began++
}

// Tracked returns the flows, in the order in which they began.
func (f *Fake) Tracked() []Flow {
	f.flows.mu.Lock()
	defer f.flows.mu.Unlock()
	var out []Flow
	for _, at := range slices.Sorted(maps.Keys(f.flows.tracked)) {
		out = append(out, f.flows.tracked[at])
	}
	return out
}

// FailFlows makes the deletion of flows fail with err after some of them; nil ends it.
func (f *Fake) FailFlows(err error) {
	f.flows.mu.Lock()
	defer f.flows.mu.Unlock()
	f.flows.err = err
}

// OnFlowGone sets a function that is called with each deleted flow.
func (f *Fake) OnFlowGone(gone func(Flow)) {
	f.flows.mu.Lock()
	defer f.flows.mu.Unlock()
	f.flows.onGone = gone
}

// Flows is part of Kernel.
func (f *Fake) Flows(context.Context) (Flows, error) { return &f.flows, nil }

// Close is part of Flows.
func (*fakeFlows) Close() error { return nil }

// Delete is part of Flows. It asks doomed as Linux does: for each flow of a dump, and again
// before the deletion.
func (f *fakeFlows) Delete(ctx context.Context, family state.Family, to []state.ID, doomed func(Flow) bool) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []int
	for _, at := range slices.Sorted(maps.Keys(f.tracked)) {
		flow := f.tracked[at]
		if state.FamilyOf(flow.To.Addr()) == family && fits(flow, to) && doomed(flow) {
			found = append(found, at)
		}
	}
	if f.err != nil {
		found = found[:len(found)/2]
	}
	n := 0
	for _, at := range found {
		if flow := f.tracked[at]; doomed(flow) {
			delete(f.tracked, at)
			if n++; f.onGone != nil {
				f.onGone(flow)
			}
		}
	}
	return n, errors.Join(f.err, ctx.Err())
}

// Unanswered is part of Flows.
func (f *fakeFlows) Unanswered(_ context.Context, family state.Family, note func(netip.AddrPort, uint32)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for at, flow := range f.tracked {
		if flow.Proto == state.TCP && !flow.Answered && state.FamilyOf(flow.By.Addr()) == family {
			note(flow.By, uint32(at))
		}
	}
	return f.err
}

// fits reports whether the kernel's filter for to lets a flow pass.
func fits(flow Flow, to []state.ID) bool {
	return len(to) == 0 || slices.ContainsFunc(to, func(id state.ID) bool {
		return id.Proto == flow.Proto && id.Port == flow.To.Port() && (id.Network().IsValid() || id.Addr() == flow.To.Addr())
	})
}
