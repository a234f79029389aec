package ledger

import (
	"context"
	"runtime"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Turn bounds a plan while changes wait: Writes is how many writes it makes before the Ledger
// leaves it off and programs the changes, and AtOnce how many of them the kernel gets in one
// call. Without turns a Service of 100 ports with 1,000 external IPs once kept the changes
// of all others waiting for nine minutes.
type Turn struct{ Writes, AtOnce int }

// turnMost is how long a turn may take, even if it has not made Turn.Writes writes.
const turnMost = 50 * time.Millisecond

// Program writes the parts, each with a plan, and in a round that is not full the failed
// writes that are due. Then it continues the plans that were left off before, and deletes the
// real servers that have drained. It leaves long plans for waiting changes.
func (l *Ledger) Program(ctx context.Context, r *report.Round, parts []desired.Part) {
	left := len(l.plans)
	var failed []state.Want
	if !r.Full {
		failed = l.due()
	}
	r.Retried += len(failed)
	parts, failed = lastWord(parts, failed)
	if len(failed) > 0 {
		parts = append(parts, desired.Part{Some: failed})
	}
	for _, part := range parts {
		l.write(ctx, r, part, true)
	}
	l.goOn(ctx, r, left)
	l.drain(ctx, r)
	l.config.Sweeper.Written(r.Failures, l, len(l.plans) == 0)
	l.schedule()
}

// Write writes one part, and does not leave it for changes.
func (l *Ledger) Write(ctx context.Context, r *report.Round, part desired.Part) {
	l.write(ctx, r, part, false)
}

// write compares the objects of a part with the kernel and writes the difference. With
// mayLeave it leaves a long plan off for waiting changes; goOn continues it.
func (l *Ledger) write(ctx context.Context, r *report.Round, part desired.Part, mayLeave bool) {
	w := l.begin(part.Some, part.All != nil)
	if l.complete {
		l.config.Sweeper.Expect(part.Some, part.All)
	}
	w.plan = l.plan(part)
	if part.Large && len(w.plan) > l.config.Turn.Writes {
		l.leave(w) // so that the round ends for the other changes
		return
	}
	l.execute(ctx, r, w, mayLeave)
}

// goOn continues the n plans that were left off before the round, the oldest first. Each
// round continues for one turn at least. A round that took changes stops after it, since
// the end of the round says that the changes are programmed.
func (l *Ledger) goOn(ctx context.Context, r *report.Round, n int) {
	n = min(n, len(l.plans)) // a full round drops them
	if n == 0 {
		return
	}
	for range n {
		w := l.plans[0]
		l.plans = l.plans[1:]
		if l.execute(ctx, r, w, true); len(w.plan) > 0 {
			return // it is the last one now, so that each plan has its turn
		}
	}
	if len(l.plans) == 0 { // some writes may have waited for it
		l.failing.wake(false)
	}
}

// execute writes the rest of a plan, stage by stage. Writes that need a failed write wait
// with it.
func (l *Ledger) execute(ctx context.Context, r *report.Round, w *writing, mayLeave bool) {
	var done tally
	defer done.add(r.Ops)
	began, n := time.Now(), 0
	for len(w.plan) > 0 {
		atOnce := l.config.Turn.AtOnce
		if w.plan[0].ID.Kind == state.Rules { // each starts a process, which may hang until its deadline
			atOnce = 1
		}
		stage, rest := w.plan.Cut(atOnce)
		l.apply(ctx, r, l.possible(r, stage, w), w, &done)
		w.plan, n = rest, n+len(stage)
		runtime.Gosched() // on one CPU changes could not come in otherwise
		changes := l.config.Between() || w.wasLeft() && r.Changes != (report.Changes{})
		gives := mayLeave && changes && (n >= l.config.Turn.Writes || time.Since(began) >= turnMost)
		if len(rest) > 0 && (gives || ctx.Err() != nil) {
			l.leave(w)
			return
		}
	}
	l.end(w)
}

// possible returns the ops of a stage that no obstacle blocks, and fails the others.
func (l *Ledger) possible(r *report.Round, stage state.Plan, w *writing) state.Plan {
	if l.free(w) {
		return stage
	}
	out := stage[:0] // the caller does not use the stage again
	for _, op := range stage {
		if err := l.obstacle(op, w); err != nil {
			l.fail(r, op, err, 0, w)
			continue
		}
		out = append(out, op)
	}
	return out
}

// apply writes a stage and notes the results.
func (l *Ledger) apply(ctx context.Context, r *report.Round, stage state.Plan, w *writing, done *tally) {
	if len(stage) == 0 {
		return
	}
	began := time.Now()
	errs := l.config.Kernel.Apply(ctx, stage)
	took := time.Since(began)
	for i, op := range stage {
		if errs != nil && errs[i] != nil {
			l.fail(r, op, errs[i], took, w)
			continue
		}
		l.note(op)
		l.config.Sweeper.Note(op)
		done.count(op)
	}
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
