package ledger

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// drainInterval is how often draining real servers are looked at.
const drainInterval = time.Second

// drain is a real server that is not wanted and finishes its connections. The
// kernel's record of it is weight 0: a restart finds it there, and only the
// time that has passed is forgotten.
type drain struct {
	since  time.Time
	looked bool // its connections have been counted, at weight 0
	empty  bool // and there were none
}

// Draining is part of state.Drain. Behind a virtual server that was taken over
// every real server drains, whatever its protocol: to make flows of our own of
// those that it has, they would have to be cut.
func (l *Ledger) Draining(real state.ID) bool {
	if !l.desired.Drains(real) && !l.actual.Adopted(real.Server()) || !l.schedulerDrains(real) {
		return false
	}
	d := l.drains[real]
	if d == nil {
		d = &drain{since: time.Now()}
		l.drains[real] = d
	}
	return !d.empty && time.Since(d.since) < l.drainTimeout
}

// schedulerDrains reports whether the scheduler of a real server's virtual
// server goes past weight 0. With one that does not, the real server goes at
// once, and the connections that it has end: new ones must not fail meanwhile.
// To a virtual server that was taken over and not made ours no new ones come.
func (l *Ledger) schedulerDrains(real state.ID) bool {
	server, ok := l.actual.Get(real.Server())
	return !ok || state.SchedulerDrains(server.Value().Scheduler) || l.actual.Adopted(real.Server())
}

// Drains returns the draining real servers whose connections are to be counted, sorted:
// each at once, for most have none, and then from time to time, or with all. Rounds follow
// changes, of which there may be hundreds a second, and to count connections costs what
// there are of real servers. It forgets those that are gone, or wanted again.
func (l *Ledger) Drains(all bool) []state.ID {
	var at []state.ID
	all = all || due(l.drainAt)
	for id, d := range l.drains {
		switch have, ok := l.actual.Get(id); {
		case !ok || have.Value().Weight != 0:
			if !l.Fails(id) && len(l.plans) == 0 {
				delete(l.drains, id)
			}
		case all || !d.looked || !l.schedulerDrains(id):
			at = append(at, id)
		}
	}
	slices.SortFunc(at, state.ID.Compare)
	return at
}

// Drained returns what is wanted now that the connections of draining real servers have
// been counted; nil: they cannot be. A real server goes when its connections have ended,
// its time has passed, or its virtual server has got a scheduler that does not drain.
func (l *Ledger) Drained(at []state.ID, connections map[state.ID]uint32) []state.Want {
	var wants []state.Want
	for _, id := range at {
		d := l.drains[id]
		d.looked, d.empty = true, connections != nil && connections[id] == 0
		if d.empty || time.Since(d.since) >= l.drainTimeout || !l.schedulerDrains(id) {
			wants = append(wants, state.Want{ID: id})
		}
	}
	return append(wants, l.emptied(wants)...)
}

// emptied returns what only stayed for the real servers that now go: virtual
// servers that were taken over and that no Service wants, and their addresses.
func (l *Ledger) emptied(going []state.Want) []state.Want {
	gone := map[state.ID]bool{}
	for _, w := range going {
		if server := w.ID.Server(); l.actual.Adopted(server) && !l.failing.wants(server) {
			gone[w.ID], gone[server] = true, true
		}
	}
	if len(gone) == 0 {
		return nil
	}
	at := map[netip.Addr]bool{} // addresses that others still need
	for id := range l.actual.All() {
		switch {
		case id.Kind == state.RealServer && !gone[id]:
			delete(gone, id.Server())
		case id.Kind == state.Entry && id.Set == state.SetVIPs:
			at[id.Addr()] = true
		}
	}
	for id := range l.actual.All() {
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

// noteDrains forgets what drained and is deleted now, by itself or with its virtual server.
func (l *Ledger) noteDrains(deleted state.ID) {
	delete(l.drains, deleted)
	if deleted.Kind != state.VirtualServer {
		return
	}
	for id := range l.drains {
		if id.Server() == deleted {
			l.Note(state.Op{Verb: state.Delete, ID: id})
		}
	}
}

// mostDrains is how many a Round names.
const mostDrains = 50

// SumDrains returns how many real servers drain, and those that have been for the longest
// time.
func (l *Ledger) SumDrains() (int, []report.Drain) {
	var out []report.Drain
	for id, d := range l.drains {
		at, _ := slices.BinarySearchFunc(out, d.since, func(o report.Drain, since time.Time) int {
			return cmp.Or(o.Since.Compare(since), o.ID.Compare(id))
		})
		if at < mostDrains {
			out = slices.Insert(out, at, report.Drain{ID: id, Since: d.since})
			out = out[:min(len(out), mostDrains)]
		}
	}
	return len(l.drains), out
}
