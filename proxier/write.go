package proxier

import (
	"context"
	"runtime"
	"time"

	"kube-ipvs/proxier/cluster"
	"kube-ipvs/proxier/ledger"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// turnMost is how long a turn may take: after it the plan is left off earlier.
const turnMost = 50 * time.Millisecond

// write compares wants with the kernel and writes the difference. A plan that
// takes long and may be left off is gone on with later.
func (p *Proxier) write(ctx context.Context, r *report.Round, w cluster.Part, mayLeave bool) {
	j := p.ledger.Begin(w.Some, w.All != nil)
	if p.cluster.Synced() {
		p.sweeper.Expect(w.Some, w.All)
	}
	j.Plan = state.NewPlan(p.cluster.Diff(w, p.ledger.Actual(), p.ledger))
	if w.Large && len(j.Plan) > p.config.Turn.Writes {
		p.ledger.Leave(j) // the round ends for what came with it
		return
	}
	p.execute(ctx, r, j, mayLeave)
}

// goOn goes on with the n plans that were left off before the round, the oldest
// first. Each round does so for a turn at least; one that took changes does so for
// no more, since its end tells that these are programmed.
func (p *Proxier) goOn(ctx context.Context, r *report.Round, n int) {
	n = min(n, p.ledger.LeftOff()) // a full round drops them
	if n == 0 {
		return
	}
	for range n {
		j := p.ledger.GoOn()
		if p.execute(ctx, r, j, true); len(j.Plan) > 0 {
			return // it is the last one now: each has its turn
		}
	}
	if p.ledger.LeftOff() == 0 { // some writes may have waited for it
		p.ledger.Unblock()
	}
}

// execute writes what is left of a plan, stage by stage: what a failed write was
// to stand on or to make way for waits with it.
func (p *Proxier) execute(ctx context.Context, r *report.Round, j *ledger.Writing, mayLeave bool) {
	var done tally
	began, n := time.Now(), 0
	for len(j.Plan) > 0 {
		atOnce := p.config.Turn.AtOnce
		if j.Plan[0].ID.Kind == state.Rules { // a process each, which may hang until its deadline
			atOnce = 1
		}
		stage, rest := j.Plan.Cut(atOnce)
		p.apply(ctx, r, p.possible(r, stage, j), j, &done)
		j.Plan, n = rest, n+len(stage)
		p.pulse.beat()
		runtime.Gosched() // with one CPU changes could not even come in
		waits := mayLeave && (n >= p.config.Turn.Writes || time.Since(began) >= turnMost) && (p.inbox.waits() || j.WasLeft() && r.Changes != (report.Changes{}))
		if len(rest) > 0 && (waits || ctx.Err() != nil) {
			p.ledger.Leave(j)
			done.add(r.Ops)
			return
		}
	}
	done.add(r.Ops)
	p.ledger.End(j)
}

// possible returns the ops of a stage of which nothing stands in the way.
func (p *Proxier) possible(r *report.Round, stage state.Plan, j *ledger.Writing) state.Plan {
	if p.ledger.Free(j) {
		return stage
	}
	out := stage[:0] // nobody needs the stage any more
	for _, op := range stage {
		if err := p.ledger.Obstacle(op, j); err != nil {
			p.fail(r, op, err, j)
			continue
		}
		out = append(out, op)
	}
	return out
}

// apply writes a stage and notes what was written.
func (p *Proxier) apply(ctx context.Context, r *report.Round, stage state.Plan, j *ledger.Writing, done *tally) {
	if len(stage) == 0 {
		return
	}
	began := time.Now()
	errs := p.kernel.Apply(ctx, stage)
	took := time.Since(began)
	for i, op := range stage {
		if errs != nil && errs[i] != nil {
			p.fail(r, op, errs[i], j)
			p.ledger.Took(op.ID, took)
			continue
		}
		p.ledger.Note(op)
		p.sweeper.Note(op)
		done.count(op)
	}
}

// fail keeps a write that failed as a difference.
func (p *Proxier) fail(r *report.Round, op state.Op, err error, j *ledger.Writing) {
	r.Failures = append(r.Failures, report.Failure{Op: op, Err: err})
	p.ledger.Fail(op, err, j)
	// The source address of a VIP may have left the node, IPv6 been switched off, or the
	// kernel have shown that it has no dummy devices.
	if op.ID.Kind == state.VIP || op.ID.Kind == state.Route {
		p.cluster.FactsChanged()
	}
}

// drain deletes draining real servers that need not be there any more.
func (p *Proxier) drain(ctx context.Context, r *report.Round) {
	at := p.ledger.Drains(r.Full)
	if len(at) == 0 {
		return
	}
	conns, err := p.kernel.Connections(ctx, at)
	if err != nil {
		p.config.Log.Warn("the connections of draining real servers cannot be counted: these real servers stay", "err", err)
		conns = nil
	}
	p.write(ctx, r, cluster.Part{Some: p.ledger.Drained(at, conns)}, false)
}

// tally counts the writes that succeeded.
type tally [state.Delete + 1]state.Counts

func (t *tally) count(op state.Op) { t[op.Verb][op.ID.Kind]++ }

func (t *tally) add(to map[report.Write]int) {
	for verb := range t {
		for kind, n := range t[verb] {
			if n > 0 {
				to[report.Write{Verb: state.Verb(verb).String(), Kind: state.Kind(kind).String()}] += n
			}
		}
	}
}
