package proxier

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/proxier/checks"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// round takes what has come in and brings the kernel to it.
func (p *Proxier) round(ctx context.Context) {
	r := &report.Round{Started: time.Now(), Ops: map[report.Write]int{}}
	m := p.receive(r)
	if !p.loaded {
		p.waiting(r)
		return // nothing is known yet: what is programmed keeps working
	}
	p.rounds++
	r.Number = p.rounds
	before := p.kernel.Stats()
	start := p.ledger.Actual() == nil
	r.Full = p.ledger.MustRead()
	p.work(ctx, r, start, m)
	r.Took = time.Since(r.Started)
	r.Kernel = r.Kernel.Plus(p.kernel.Stats().Since(before))
	if r.Err == nil && p.ledger.LeftOff() == 0 {
		p.inbox.done()
	}
	p.report(r)
}

// work does a round; start says that it is the first.
func (p *Proxier) work(ctx context.Context, r *report.Round, start bool, m mail) {
	r.Err = p.judge(r, m.read)
	p.heed(m)
	if r.Err == nil {
		r.Err = p.look(ctx, r)
	}
	if r.Err != nil {
		p.ledger.Aborted()
		return
	}
	if start && p.ledger.Objects()[state.VirtualServer] == 0 {
		p.first(ctx, r)
	}
	left := p.ledger.LeftOff()
	for _, w := range p.wants(ctx, r) {
		p.write(ctx, r, w, true)
	}
	p.goOn(ctx, r, left)
	p.drain(ctx, r)
	p.sweeper.Written(r.Failures, p.ledger, p.ledger.LeftOff() == 0)
	p.checks.Begin(ctx, p.believed())
	p.ledger.Schedule()
	p.checks.Schedule(r.Full || r.Audited, p.config.AuditPeriod, p.config.CanaryPeriod)
	r.Triggers, p.triggers = p.triggers, nil
}

// first programs what everything else in the cluster needs, before the rest is
// even rendered: on a node where nothing answers yet. Where something does, a
// virtual IP that two Services ask for might change hands for a moment.
func (p *Proxier) first(ctx context.Context, r *report.Round) {
	keys := p.model.First()
	p.probeSchedulers(ctx, keys, false)
	p.table.Refresh(tallying{p.model, p.tallies}, keys)
	p.write(ctx, r, wanted{some: p.table.Of(keys)}, false)
}

// receive takes the mail and applies it to the model.
func (p *Proxier) receive(r *report.Round) mail {
	m := p.inbox.take()
	r.Queued, r.Changes = m.since, m.changes
	p.model.Expect(m.changes.Services, m.changes.Slices)
	for _, e := range m.events {
		p.event(e)
	}
	if m.config != nil {
		p.reconfigure(*m.config)
	}
	if m.problems != nil {
		p.sources = *m.problems
	}
	if m.synced && !p.synced {
		p.ledger.ReadNow() // from now on objects that no Service needs may go
	}
	p.loaded = p.loaded || m.loaded
	p.synced = p.synced || m.synced
	if m.facts && p.factsAt.IsZero() {
		p.factsAt = p.factsRead.Add(factsInterval)
	}
	return m
}

func (p *Proxier) event(e source.Event) {
	if e.Slice != nil {
		p.names.slice(e.Slice, e.Deleted)
	}
	switch {
	case e.Service != nil && e.Deleted:
		p.model.DeleteService(model.Key{Namespace: e.Service.Namespace, Name: e.Service.Name})
	case e.Service != nil:
		p.model.ApplyService(e.Service, e.Origin)
	case e.Slice != nil && e.Deleted:
		p.model.DeleteSlice(e.Slice.Namespace, e.Slice.Name)
	case e.Slice != nil:
		p.model.ApplySlice(e.Slice, e.Origin)
		p.trigger(e.Slice)
	case e.Node != nil && e.Node.Name == p.config.Desired.NodeName && !e.Deleted:
		p.model.SetNode(model.Node{Name: e.Node.Name, Zone: cmp.Or(p.config.Zone, e.Node.Labels[corev1.LabelTopologyZone])})
		p.node.read(e.Node, p.config)
	}
}

// judge takes in what the readings beside the loop have found. An error means that
// nothing may be written.
func (p *Proxier) judge(r *report.Round, back []*checks.Reading) error {
	v := p.checks.Judge(back, p.believed())
	r.Kernel = r.Kernel.Plus(v.Stats)
	r.GivenUp = v.GivenUp
	if v.Agrees || v.Differs {
		p.ledger.AskAgain()
		r.Full, r.Audited = v.Differs, v.Agrees
	}
	return v.Err
}

func (p *Proxier) believed() checks.Belief {
	return checks.Belief{Digest: p.ledger.Digest(), Entries: p.ledger.Objects()[state.Entry], Written: p.ledger.Written()}
}

// heed takes in what was asked for, and hints. It comes before the round
// writes: what the loop itself has deleted is no drift.
func (p *Proxier) heed(m mail) {
	if m.audit {
		p.checks.Ask()
		p.factsAt = time.Now()
		p.ledger.Retry()
	}
	if m.rules {
		p.checks.RulesChanged()
	}
	if p.ledger.Actual() != nil && (m.more || slices.ContainsFunc(m.suspects, p.drifted)) {
		p.checks.Suspect()
	}
}

// drifted reports whether an object that is gone, or changed, should not be. An
// address of the node that went took routes with it.
func (p *Proxier) drifted(id state.ID) bool {
	return p.ledger.Has(id) || id.Kind == state.VIP && slices.Contains(p.facts.NodeIPs, id.Addr())
}

// look reads what the round must know. An error means that nothing may be
// written.
func (p *Proxier) look(ctx context.Context, r *report.Round) error {
	if p.table == nil || due(p.factsAt) {
		facts, err := p.kernel.Facts(ctx)
		switch {
		case err != nil && p.table == nil:
			return fmt.Errorf("read the node's addresses: %w", err)
		case err != nil:
			p.factsAt = time.Now().Add(factsInterval)
			p.log.Warn("the node's addresses cannot be read; those known are used", "err", err)
		default:
			p.factsAt, p.factsRead = time.Time{}, time.Now()
			p.setFacts(r, facts)
		}
	}
	if p.follow() {
		p.renderAll(r)
	}
	if !r.Full {
		return nil
	}
	var err error
	if r.Drift, err = p.ledger.Read(ctx, p.kernel); err != nil {
		return err
	}
	p.checks.Trust()
	p.bind()
	return nil
}

// setFacts renders everything anew if the facts are.
func (p *Proxier) setFacts(r *report.Round, facts state.Facts) {
	switch {
	case p.table == nil:
		p.table = desired.NewTable(p.config.Desired, facts)
		p.expect()
		p.facts = facts // nothing has been rendered yet, so that all is dirty
		return
	case sameFacts(p.facts, facts):
		p.facts = facts
		return
	default:
		p.table.SetFacts(facts)
	}
	p.facts = facts
	p.renderAll(r)
}

// renderAll has everything rendered anew, and compared with the kernel.
func (p *Proxier) renderAll(r *report.Round) {
	p.model.SetAllDirty()
	r.Full = true
	p.ledger.Doubt() // full once more if the read fails now
}

// wanted is what a round must compare.
type wanted struct {
	some  []state.Want
	all   *desired.Table // not nil: all of its objects too, and everything else must go
	retry bool           // some has failed before
	large bool           // some is of a Service with many objects: rounds of their own write it
}

// objects goes through those of w.all; nil: it is.
func (w *wanted) objects() iter.Seq2[state.ID, state.SpecRef] {
	if w.all == nil {
		return nil
	}
	return w.all.All()
}

// wants renders what is dirty and returns what the round must compare, in parts
// that have plans of their own: what the cluster hangs on comes first, a Service
// with many objects last.
func (p *Proxier) wants(ctx context.Context, r *report.Round) []wanted {
	keys := p.model.TakeDirty()
	p.probeSchedulers(ctx, keys, r.Full || r.Audited)
	keys = append(keys, p.model.TakeDirty()...)
	r.Services = len(keys)
	views := tallying{p.model, p.tallies}
	var parts []wanted
	if r.Full {
		p.table.Refresh(views, keys)
		parts = []wanted{{all: p.table, some: p.config.Desired.TakenBack(p.ledger.Actual())}}
	} else {
		for _, g := range p.groups(keys) {
			parts = append(parts, wanted{some: p.table.Update(views, g.keys), large: g.large})
		}
		if failed := p.ledger.Due(); len(failed) > 0 {
			r.Retried += len(failed)
			parts = append(parts, wanted{some: failed, retry: true})
		}
		parts = lastWord(parts)
	}
	p.names.update(p.config.Desired, p.table, p.model, keys)
	return parts
}

// group are Services that have a plan together.
type group struct {
	keys  []model.Key
	large bool // the one has many objects
}

// groups splits keys, which are in the order of model.Keys.
func (p *Proxier) groups(keys []model.Key) []group {
	var first, rest group
	var large []group
	for _, k := range keys {
		switch {
		case p.isLarge(k):
			large = append(large, group{[]model.Key{k}, true})
		case p.model.IsFirst(k):
			first.keys = append(first.keys, k)
		default:
			rest.keys = append(rest.keys, k)
		}
	}
	all := append([]group{first, rest}, large...)
	return slices.DeleteFunc(all, func(g group) bool { return len(g.keys) == 0 })
}

// isLarge reports whether a Service has, or is to have, so many objects that it
// gets a plan of its own.
func (p *Proxier) isLarge(k model.Key) bool {
	return max(p.table.Objects(k), p.model.Objects(k)) > p.turn.writes
}

// lastWord leaves each object to the last of the parts that is about it, but what
// has failed before to any other.
func lastWord(parts []wanted) []wanted {
	if len(parts) < 2 {
		return parts
	}
	named := map[state.ID]bool{}
	for i := range slices.Backward(parts) {
		if parts[i].retry {
			continue
		}
		parts[i].some = unnamed(parts[i].some, named)
	}
	for i := range parts {
		if parts[i].retry {
			parts[i].some = unnamed(parts[i].some, named)
		}
	}
	return parts
}

// unnamed returns those of wants that are not named, and names them.
func unnamed(wants []state.Want, named map[state.ID]bool) []state.Want {
	out := wants[:0]
	for _, w := range wants {
		if !named[w.ID] {
			named[w.ID] = true
			out = append(out, w)
		}
	}
	return out
}

// diff returns the writes that w comes to.
func (p *Proxier) diff(w wanted) []state.Op {
	if w.all == nil {
		return state.Diff(w.some, p.ledger.Actual(), p.ledger)
	}
	ops, others := state.Bring(w.all.All(), w.all.Len(), p.ledger.Actual())
	ops = append(ops, state.Diff(others, p.ledger.Actual(), p.ledger)...)
	return append(ops, state.Diff(w.some, p.ledger.Actual(), p.ledger)...)
}
