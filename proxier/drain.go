package proxier

import (
	"context"
	"slices"
	"time"

	"kube-ipvs/proxier/state"
)

// drain is a real server that is not wanted and finishes its connections. The
// kernel's record of it is weight 0: a restart finds it there, and only the
// time that has passed is forgotten.
type drain struct {
	since time.Time
	empty bool // it was seen without connections, at weight 0
}

// Draining is part of state.Drain.
func (p *Proxier) Draining(real state.ID) bool {
	if !p.config.Desired.Drains(real) {
		return false
	}
	d := p.draining[real]
	if d == nil {
		d = &drain{since: time.Now()}
		p.draining[real] = d
	}
	return !d.empty && time.Since(d.since) < p.config.DrainTimeout
}

// drainRound deletes draining real servers whose connections have ended or
// whose time has passed.
func (p *Proxier) drainRound(ctx context.Context, r *Round) {
	var at []state.ID
	for id := range p.draining {
		switch have, ok := p.actual[id]; {
		case !ok || have.Value().Weight != 0:
			if _, failed := p.pending[id]; !failed {
				delete(p.draining, id) // gone, or wanted again
			}
		default:
			at = append(at, id)
		}
	}
	if len(at) == 0 {
		return
	}
	slices.SortFunc(at, state.ID.Compare)
	conns, err := p.kernel.Connections(ctx, at)
	if err != nil {
		p.log.Warn("connections of draining real servers cannot be counted; they stay", "err", err)
		conns = nil
	}
	var wants []state.Want
	for _, id := range at {
		d := p.draining[id]
		d.empty = conns != nil && conns[id] == 0
		if d.empty || time.Since(d.since) >= p.config.DrainTimeout {
			wants = append(wants, state.Want{ID: id})
		}
	}
	p.write(ctx, r, wants)
	for _, w := range wants {
		if _, still := p.actual[w.ID]; !still {
			delete(p.draining, w.ID)
		}
	}
	r.Draining = len(p.draining)
}
