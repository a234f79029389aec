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

// turnMost is how long a turn may take, even if it has not made Turn.Writes writes.
const turnMost = 50 * time.Millisecond

// write compares the objects of a part with the kernel and writes the difference. With
// mayLeave it leaves a long plan for waiting changes; goOn continues it.
func (p *Proxier) write(ctx context.Context, r *report.Round, w cluster.Part, mayLeave bool) {
	j := p.ledger.Begin(w.Some, w.All != nil)
	if p.cluster.Synced() {
		p.sweeper.Expect(w.Some, w.All)
	}
	j.Plan = state.NewPlan(p.cluster.Diff(w, p.ledger.Actual(), p.ledger))
	if w.Large && len(j.Plan) > p.config.Turn.Writes {
		p.ledger.Leave(j) // so that the round ends for the other changes
		return
	}
	p.execute(ctx, r, j, mayLeave)
}

// goOn continues the n plans that were left off before the round, the oldest first. Each
// round continues for one turn at least. A round that took changes stops after it, since
// the end of the round says that the changes are programmed.
func (p *Proxier) goOn(ctx context.Context, r *report.Round, n int) {
	n = min(n, p.ledger.LeftOff()) // a full round drops them
	if n == 0 {
		return
	}
	for range n {
		j := p.ledger.GoOn()
		if p.execute(ctx, r, j, true); len(j.Plan) > 0 {
			return // it is the last one now, so that each plan has its turn
		}
	}
	if p.ledger.LeftOff() == 0 { // some writes may have waited for it
		p.ledger.Unblock()
	}
}

// execute writes the rest of a plan, stage by stage. Writes that need a failed write wait
// with it.
func (p *Proxier) execute(ctx context.Context, r *report.Round, j *ledger.Writing, mayLeave bool) {
	var done tally
	began, n := time.Now(), 0
	for len(j.Plan) > 0 {
		atOnce := p.config.Turn.AtOnce
		if j.Plan[0].ID.Kind == state.Rules { // each starts a process, which may hang until its deadline
			atOnce = 1
		}
		stage, rest := j.Plan.Cut(atOnce)
		p.apply(ctx, r, p.possible(r, stage, j), j, &done)
		j.Plan, n = rest, n+len(stage)
		p.pulse.beat()
		runtime.Gosched() // on one CPU changes could not come in otherwise
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

// possible returns the ops of a stage that no obstacle blocks, and fails the others.
func (p *Proxier) possible(r *report.Round, stage state.Plan, j *ledger.Writing) state.Plan {
	if p.ledger.Free(j) {
		return stage
	}
	out := stage[:0] // the caller does not use the stage again
	for _, op := range stage {
		if err := p.ledger.Obstacle(op, j); err != nil {
			p.fail(r, op, err, j)
			continue
		}
		out = append(out, op)
	}
	return out
}

// apply writes a stage and notes the results.
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

// fail records a failed write, so that it stays a difference.
func (p *Proxier) fail(r *report.Round, op state.Op, err error, j *ledger.Writing) {
	r.Failures = append(r.Failures, report.Failure{Op: op, Err: err})
	p.ledger.Fail(op, err, j)
	// The facts may have changed: the source address of a VIP has left the node, IPv6 is off,
	// or the kernel has no dummy devices.
	if op.ID.Kind == state.VIP || op.ID.Kind == state.Route {
		p.cluster.FactsChanged()
	}
}

// drain deletes the real servers that have finished draining.
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
