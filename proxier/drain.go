package proxier

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// drain is a real server that is not wanted and finishes its connections. The
// kernel's record of it is weight 0: a restart finds it there, and only the
// time that has passed is forgotten.
type drain struct {
	since  time.Time
	looked bool // its connections have been counted, at weight 0
	empty  bool // and there were none
}

// mostDrains is how many a Round names.
const mostDrains = 50

// drains returns those that have been draining for the longest time.
func (p *Proxier) drains() []report.Drain {
	var out []report.Drain
	for id, d := range p.draining {
		at, _ := slices.BinarySearchFunc(out, d.since, func(o report.Drain, since time.Time) int {
			return cmp.Or(o.Since.Compare(since), o.ID.Compare(id))
		})
		if at < mostDrains {
			out = slices.Insert(out, at, report.Drain{ID: id, Since: d.since})
			out = out[:min(len(out), mostDrains)]
		}
	}
	return out
}

// Draining is part of state.Drain. Behind a virtual server that was taken over
// every real server drains, whatever its protocol: to make flows of our own of
// those that it has, they would have to be cut.
func (p *Proxier) Draining(real state.ID) bool {
	if !p.config.Desired.Drains(real) && !p.actual.Adopted(real.Server()) || !p.schedulerDrains(real) {
		return false
	}
	d := p.draining[real]
	if d == nil {
		d = &drain{since: time.Now()}
		p.draining[real] = d
	}
	return !d.empty && time.Since(d.since) < p.config.DrainTimeout
}

// schedulerDrains reports whether the scheduler of a real server's virtual
// server goes past weight 0. With one that does not, the real server goes at
// once, and the connections that it has end: new ones must not fail meanwhile.
// To a virtual server that was taken over and not made ours no new ones come.
func (p *Proxier) schedulerDrains(real state.ID) bool {
	server, ok := p.actual.Get(real.Server())
	return !ok || state.SchedulerDrains(server.Value().Scheduler) || p.actual.Adopted(real.Server())
}

// drainRound deletes draining real servers whose connections have ended, whose
// time has passed, or whose virtual server has got a scheduler that does not
// drain. It looks at each at once, for most have none, and then
// from time to time: rounds follow changes, of which there may be hundreds a
// second, and to count connections costs what there are of real servers.
func (p *Proxier) drainRound(ctx context.Context, r *report.Round) {
	var at []state.ID
	all := r.Full || due(p.drainAt)
	for id, d := range p.draining {
		switch have, ok := p.actual.Get(id); {
		case !ok || have.Value().Weight != 0:
			if p.ledger.of[id] == nil && len(p.unfinished) == 0 {
				delete(p.draining, id) // gone, or wanted again
			}
		case all || !d.looked || !p.schedulerDrains(id):
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
		d.looked, d.empty = true, conns != nil && conns[id] == 0
		if d.empty || time.Since(d.since) >= p.config.DrainTimeout || !p.schedulerDrains(id) {
			wants = append(wants, state.Want{ID: id})
		}
	}
	wants = append(wants, p.emptied(wants)...)
	p.write(ctx, r, wanted{some: wants}, false)
	for _, w := range wants {
		if !p.actual.Has(w.ID) {
			delete(p.draining, w.ID)
		}
	}
	r.Draining = len(p.draining)
}

// emptied returns what only stayed for the real servers that now go: virtual
// servers that were taken over and that nobody wants, and their addresses.
func (p *Proxier) emptied(going []state.Want) []state.Want {
	gone := map[state.ID]bool{}
	for _, w := range going {
		if server := w.ID.Server(); p.actual.Adopted(server) && !p.ledger.wants(server) {
			gone[w.ID], gone[server] = true, true
		}
	}
	if len(gone) == 0 {
		return nil
	}
	at := map[netip.Addr]bool{} // addresses that others still need
	for id := range p.actual.All() {
		switch {
		case id.Kind == state.RealServer && !gone[id]:
			delete(gone, id.Server())
		case id.Kind == state.Entry && id.Set == state.SetVIPs:
			at[id.Addr()] = true
		}
	}
	for id := range p.actual.All() {
		at[id.Addr()] = at[id.Addr()] || id.Kind == state.VirtualServer && !gone[id]
	}
	var out []state.Want
	for id := range gone {
		if id.Kind != state.VirtualServer {
			continue
		}
		out = append(out, state.Want{ID: id})
		if vip := state.VIPID(id.Addr()); !at[id.Addr()] && !slices.ContainsFunc(out, func(w state.Want) bool { return w.ID == vip }) {
			out = append(out, state.Want{ID: vip})
		}
	}
	slices.SortFunc(out, func(a, b state.Want) int { return a.ID.Compare(b.ID) })
	return out
}
