package ledger

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/pace"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// drainInterval is the time between counts of the connections of draining real servers.
const drainInterval = time.Second

// drain is a removed real server that finishes its connections. The kernel records it by
// weight 0, so that a restart forgets only the time that has passed.
type drain struct {
	since  time.Time
	looked bool // its connections have been counted, at weight 0
	empty  bool // it had no connections then
	asked  bool // the last full plan has asked whether it drains: it is not desired
}

// drains are all of them, and when to count their connections; zero: there are none.
type drains struct {
	of   map[state.ID]*drain
	next time.Time
}

// Draining is part of state.Drain. Behind a virtual server that was taken over, a real server
// of any protocol drains, since its flows can only be cut and not be taken over.
func (l *Ledger) Draining(real state.ID) bool {
	if !l.config.Desired.Drains(real) && !l.actual.Adopted(real.Server()) || !l.schedulerDrains(real) {
		return false
	}
	d := l.drains.of[real]
	if d == nil {
		d = &drain{since: time.Now()}
		l.drains.of[real] = d
	}
	d.asked = true
	return !d.empty && time.Since(d.since) < l.config.DrainTimeout
}

// plan returns the plan of a part, and forgets the drains of real servers that are desired. They
// may be desired with weight 0, by a rule or in slow start, so that the kernel does not show it.
func (l *Ledger) plan(part desired.Part) state.Plan {
	for _, d := range l.drains.of {
		d.asked = false
	}
	plan := l.Plan(part)
	if len(l.drains.of) == 0 {
		return plan
	}
	for _, w := range part.Some {
		if w.Present && w.ID.Kind == state.RealServer {
			delete(l.drains.of, w.ID)
		}
	}
	if part.All != nil {
		maps.DeleteFunc(l.drains.of, func(_ state.ID, d *drain) bool { return !d.asked })
	}
	return plan
}

// schedulerDrains reports whether the scheduler of a real server skips weight 0. If it does
// not, the real server must be deleted at once, which ends its connections, since new ones
// would fail. No new ones come to a virtual server that was only taken over.
func (l *Ledger) schedulerDrains(real state.ID) bool {
	server, ok := l.actual.Get(real.Server())
	return !ok || state.SchedulerDrains(server.Value().Scheduler) || l.actual.Adopted(real.Server())
}

// drain deletes the real servers that have finished draining.
func (l *Ledger) drain(ctx context.Context, r *report.Round) {
	at := l.counted(r.Full)
	if len(at) == 0 {
		return
	}
	connections, err := l.config.Kernel.Connections(ctx, at)
	if err != nil {
		l.config.Log.Warn("the connections of draining real servers cannot be counted: these real servers stay", "err", err)
		connections = nil
	}
	l.Write(ctx, r, desired.Part{Some: l.drained(at, connections)})
}

// counted returns the draining real servers whose connections drain must count, sorted:
// new ones at once, since most have no connections, and all of them each drainInterval or with
// all. There may be hundreds of rounds a second, and a count costs as much as there are real
// servers. counted forgets real servers that are deleted or desired again.
func (l *Ledger) counted(all bool) []state.ID {
	var at []state.ID
	all = all || pace.Due(l.drains.next)
	for id, d := range l.drains.of {
		switch have, ok := l.actual.Get(id); {
		case !ok || have.Value().Weight != 0:
			if !l.Fails(id) && len(l.plans) == 0 {
				delete(l.drains.of, id)
			}
		case all || !d.looked || !l.schedulerDrains(id):
			at = append(at, id)
		}
	}
	slices.SortFunc(at, state.ID.Compare)
	return at
}

// drained returns the deletions after a count of connections; nil connections means that the
// count failed. It deletes a real server whose connections have ended, whose time has passed,
// or whose virtual server has got a scheduler that does not drain.
func (l *Ledger) drained(at []state.ID, connections map[state.ID]uint32) []state.Want {
	var wants []state.Want
	for _, id := range at {
		d := l.drains.of[id]
		d.looked, d.empty = true, connections != nil && connections[id] == 0
		if d.empty || time.Since(d.since) >= l.config.DrainTimeout || !l.schedulerDrains(id) {
			wants = append(wants, state.Want{ID: id})
		}
	}
	return append(wants, l.emptied(wants)...)
}

// emptied returns the deletions that follow those of real servers: virtual servers that were
// taken over, that no Service needs and that are empty now, and their addresses.
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
	at := map[netip.Addr]bool{} // addresses that other objects need
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

// noteDrains forgets the drains of a deleted real server, or of all behind a deleted virtual
// server.
func (l *Ledger) noteDrains(deleted state.ID) {
	delete(l.drains.of, deleted)
	if deleted.Kind != state.VirtualServer {
		return
	}
	for id := range l.drains.of {
		if id.Server() == deleted {
			l.note(state.Op{Verb: state.Delete, ID: id})
		}
	}
}

// mostDrains is the longest Round.Drains.
const mostDrains = 50

// sumDrains returns the number of draining real servers, and the mostDrains that have drained
// the longest, the oldest first.
func (l *Ledger) sumDrains() (int, []report.Drain) {
	var out []report.Drain
	for id, d := range l.drains.of {
		out = keepFirst(out, report.Drain{ID: id, Since: d.since}, mostDrains, func(a, b report.Drain) int {
			return cmp.Or(a.Since.Compare(b.Since), a.ID.Compare(b.ID))
		})
	}
	return len(l.drains.of), out
}
