package proxier

import (
	"context"
	"slices"
	"time"

	"kube-ipvs/proxier/checks"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// round takes the mail and programs the kernel accordingly.
func (p *Proxier) round(ctx context.Context) {
	r := &report.Round{Number: 1, Started: time.Now(), Ops: map[report.Write]int{}}
	m := p.receive(r)
	if !p.cluster.Loaded() {
		p.waiting(r)
		return // the desired objects are not known yet: the programmed ones keep working
	}
	if last := p.Last(); last != nil {
		r.Number = last.Number + 1
	}
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
		p.ledger.Aborted(r.Err)
		return
	}
	if start && p.ledger.Objects()[state.VirtualServer] == 0 {
		p.ledger.Write(ctx, r, p.cluster.First(ctx, p.ledger.Actual()))
	}
	p.ledger.Program(ctx, r, p.cluster.Render(ctx, r, p.ledger.Actual()))
	// The facts may have changed: the source address of a VIP has left the node, IPv6 is off,
	// or the kernel has no dummy devices.
	if slices.ContainsFunc(r.Failures, func(f report.Failure) bool { k := f.Op.ID.Kind; return k == state.VIP || k == state.Route }) {
		p.cluster.FactsChanged()
	}
	p.checks.Begin(ctx, p.ledger.Belief())
	p.checks.Schedule(r.Full || r.Audited, p.config.AuditPeriod, p.config.CanaryPeriod)
}

// receive takes the mail, and hands news and settings to cluster and ledger.
func (p *Proxier) receive(r *report.Round) mail {
	m := p.inbox.take()
	r.Queued, r.Changes = m.news.Backlog.Since, m.news.Backlog.Changes
	p.cluster.Take(m.news)
	if m.config != nil {
		p.cluster.Configure(m.config.Config)
		p.ledger.SetDrainTimeout(m.config.DrainTimeout)
		p.config.AuditPeriod, p.config.MinSyncPeriod = m.config.AuditPeriod, m.config.MinSyncPeriod
	}
	if m.news.Synced {
		p.ledger.Complete()
	}
	return m
}

// judge takes the results of the readings beside the loop. After an error the round must
// not write.
func (p *Proxier) judge(r *report.Round, back []*checks.Reading) error {
	v := p.checks.Judge(back, p.ledger.Belief())
	r.Kernel = r.Kernel.Plus(v.Stats)
	r.GivenUp = v.GivenUp
	if v.Agrees || v.Differs {
		p.ledger.AskAgain()
		r.Full, r.Audited = v.Differs, v.Agrees
		p.cluster.Filled(v.Fills)
	}
	return v.Err
}

// heed acts on Audit, and on hints of the kernel. It comes before the round writes, since the
// deletions of the loop itself are no drift.
func (p *Proxier) heed(m mail) {
	if m.audit {
		p.checks.Ask()
		p.cluster.ReadFacts()
		p.ledger.Retry()
	}
	if m.rules {
		p.checks.RulesChanged()
	}
	if p.ledger.Actual() != nil && (m.more || slices.ContainsFunc(m.suspects, p.drifted)) {
		p.checks.Suspect()
	}
}

// drifted reports whether the loop did not make the reported change of an object. An address
// of the node counts too, since routes go with it.
func (p *Proxier) drifted(id state.ID) bool {
	return p.ledger.Has(id) || id.Kind == state.VIP && slices.Contains(p.cluster.Facts().NodeIPs, id.Addr())
}

// look reads the facts of the node and, in a full round, the kernel. After an error the round
// must not write.
func (p *Proxier) look(ctx context.Context, r *report.Round) error {
	anew, err := p.cluster.Look(ctx)
	if err != nil {
		return err
	}
	if anew {
		r.Full = true
		p.ledger.Doubt()
	}
	if !r.Full {
		return nil
	}
	if r.Drift, err = p.ledger.Read(ctx); err != nil {
		return err
	}
	p.checks.Trust()
	return nil
}

// waiting publishes the problems before the source has delivered. It is not a round: it
// reads and writes nothing, and Number is 0.
func (p *Proxier) waiting(r *report.Round) {
	r.Number = 0
	p.problems(r)
	r.NotReady = "the Services and EndpointSlices have not been read yet"
	p.last.Store(r)
}

// report publishes the round and logs it.
func (p *Proxier) report(r *report.Round) {
	p.ledger.Report(r)
	p.cluster.Report(r)
	r.Flows = p.sweeper.Sum()
	p.problems(r)
	r.Ejected, r.Ejections = p.ejects.Sum()
	p.last.Store(r)
	if p.config.Observe != nil {
		p.config.Observe(r)
	}
	p.journal.Round(r)
}

// problems collects all problems, and logs the new and the solved ones.
func (p *Proxier) problems(r *report.Round) {
	board := p.journal.Board()
	p.cluster.Tell(board)
	board.Replace("kernel", p.ledger.Problems(p.cluster.Table(), p.cluster.Model()))
	r.Problems = p.journal.Problems()
}
