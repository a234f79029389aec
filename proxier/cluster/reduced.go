package cluster

import (
	"maps"
	"sync"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// reductions are the reduced real servers of all Services. Rendering a Service replaces its own.
// Only readers, from any goroutine, pay for a list of all.
type reductions struct {
	mu  sync.Mutex
	of  map[model.Key]state.Reduced
	all state.Reduced // nil: they have changed
}

// forget removes those of a Service.
func (r *reductions) forget(key model.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of[key] != nil {
		delete(r.of, key)
		r.all = nil
	}
}

// add adds a real server, unless it is there for another reason.
func (r *reductions) add(key model.Key, real state.ID, why state.Standing) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of[key] == nil {
		r.of[key] = state.Reduced{}
	}
	if r.of[key][real] == "" {
		r.of[key][real], r.all = why, nil
	}
}

// list returns all, never nil. Callers must not change it.
func (r *reductions) list() state.Reduced {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = state.Reduced{}
		for _, of := range r.of {
			maps.Copy(r.all, of)
		}
	}
	return r.all
}
