package proxier

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// turn says how many writes a plan has before it is left off, where changes wait,
// and how many of them are handed to the kernel at once. The plan is gone on with
// after the changes: a Service of 100 ports with 1,000 external IPs once kept those
// of all others waiting for nine minutes.
type turn struct{ writes, atOnce int }

var usualTurn = turn{writes: 2000, atOnce: 1000}

// turnMost is how long a turn may take: after it the plan is left off earlier.
const turnMost = 50 * time.Millisecond

// work is a plan under way.
type work struct {
	plan    state.Plan           // what is left of it
	earlier map[state.ID]*status // of its objects whose last write had failed
	// leaving are the deletions of a plan that was left off: the last object to go
	// by each object that it needs, and that must not go before it. Nil: it was not.
	leaving map[state.ID]state.ID
}

// write compares wants with the kernel and writes the difference. A plan that
// takes long and may be left off is kept in p.unfinished.
func (p *Proxier) write(ctx context.Context, r *report.Round, w wanted, mayLeave bool) {
	var earlier map[state.ID]*status
	if w.all != nil { // which names all objects
		earlier, p.unfinished = p.ledger.takeAll(), nil
	} else {
		earlier = p.ledger.take(w.some)
	}
	p.supersede(w.some)
	if p.synced {
		p.sweeper.Expect(w.some, w.objects())
	}
	ops := p.diff(w)
	if !p.synced {
		ops = careful(ops, p.actual)
	}
	j := &work{plan: state.NewPlan(ops), earlier: earlier}
	if w.large && len(ops) > p.turn.writes {
		p.leave(j) // the round ends for what came with it
		return
	}
	p.execute(ctx, r, j, mayLeave)
}

// supersede takes out of the plans under way what a newer one is about: a Service
// that changes faster than it is written would have them grow without bound.
func (p *Proxier) supersede(wants []state.Want) {
	if len(p.unfinished) == 0 || len(wants) == 0 {
		return
	}
	newer := make(map[state.ID]bool, len(wants))
	for i := range wants {
		newer[wants[i].ID] = true
	}
	p.unfinished = slices.DeleteFunc(p.unfinished, func(j *work) bool {
		had := len(j.plan)
		j.plan = slices.DeleteFunc(j.plan, func(op state.Op) bool { return newer[op.ID] })
		switch len(j.plan) {
		case had:
			return false
		case 0:
			p.mended(j.earlier)
			return true
		}
		p.noteLeaving(j)
		return false
	})
}

// goOn goes on with the n plans that were left off before the round, the oldest
// first. Each round does so for a turn at least; one that took changes does so for
// no more, since its end tells that these are programmed.
func (p *Proxier) goOn(ctx context.Context, r *report.Round, n int) {
	n = min(n, len(p.unfinished)) // a full round drops them
	if n == 0 {
		return
	}
	for range n {
		j := p.unfinished[0]
		p.unfinished = p.unfinished[1:]
		if p.execute(ctx, r, j, true); len(j.plan) > 0 {
			return // it is the last one now: each has its turn
		}
	}
	if len(p.unfinished) == 0 { // some writes may have waited for it
		p.ledger.wake(false)
	}
}

// leave leaves a plan off.
func (p *Proxier) leave(j *work) {
	p.unfinished = append(p.unfinished, j)
	if j.leaving == nil {
		p.noteLeaving(j)
	}
}

// noteLeaving notes what a plan that was left off is to delete.
func (p *Proxier) noteLeaving(j *work) {
	j.leaving = map[state.ID]state.ID{}
	for i := range j.plan {
		if op := &j.plan[i]; !op.Want().Present {
			p.hold(j.leaving, op.ID)
		}
	}
}

// leaves reports whether a plan that was left off is to delete an object that
// needs this one.
func (p *Proxier) leaves(need state.ID) (by state.ID, ok bool) {
	for _, j := range p.unfinished {
		if by, ok = j.leaving[need]; ok && p.actual.Has(by) {
			return by, true
		}
	}
	return by, false
}

// left returns how many writes the plans that were left off have still.
func (p *Proxier) left() int {
	n := 0
	for _, j := range p.unfinished {
		n += len(j.plan)
	}
	return n
}

// execute writes what is left of a plan, stage by stage: what a failed write was
// to stand on or to make way for waits with it.
func (p *Proxier) execute(ctx context.Context, r *report.Round, j *work, mayLeave bool) {
	var done tally
	held := p.held()
	began, n := time.Now(), 0
	for len(j.plan) > 0 {
		atOnce := p.turn.atOnce
		if j.plan[0].ID.Kind == state.Rules { // a process each, which may hang until its deadline
			atOnce = 1
		}
		stage, rest := j.plan.Cut(atOnce)
		p.apply(ctx, r, p.possible(r, stage, held, j), held, j, &done)
		j.plan, n = rest, n+len(stage)
		p.beat()
		runtime.Gosched() // with one CPU changes could not even come in
		waits := mayLeave && (n >= p.turn.writes || time.Since(began) >= turnMost) && (p.inbox.waits() || j.leaving != nil && r.Changes != (report.Changes{}))
		if len(rest) > 0 && (waits || ctx.Err() != nil) {
			p.leave(j)
			done.add(r.Ops)
			return
		}
	}
	done.add(r.Ops)
	p.mended(j.earlier)
}

// apply writes a stage and notes in what the kernel is known to hold what was
// written.
func (p *Proxier) apply(ctx context.Context, r *report.Round, stage state.Plan, held map[state.ID]state.ID, j *work, done *tally) {
	if len(stage) == 0 {
		return
	}
	began := time.Now()
	errs := p.kernel.Apply(ctx, stage)
	took := time.Since(began)
	for i, op := range stage {
		if errs != nil && errs[i] != nil {
			p.fail(r, op, errs[i], j).rest(took)
			p.hold(held, op.ID)
			continue
		}
		p.note(op)
		p.sweeper.Note(op)
		p.forget(op)
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

// note notes in what the kernel is known to hold that op was written.
func (p *Proxier) note(op state.Op) {
	if old, had := p.actual.Apply(op); had {
		p.digest.Remove(op.ID, old)
		p.objects[op.ID.Kind]--
	}
	if op.ID.Kind == state.Entry {
		p.written++
	}
	if op.Verb != state.Delete {
		p.digest.Add(op.ID, op.Spec)
		p.objects[op.ID.Kind]++
	}
}

// possible returns the ops of a stage of which nothing stands in the way. A
// real server added to a virtual server that could not be added would go to
// somebody else's of the same address; a frontend published without what is
// behind it would answer wrongly. As long as no write has failed and no plan was
// left off nothing does: what an object needs is wanted too, and there, or in an
// earlier stage.
func (p *Proxier) possible(r *report.Round, stage state.Plan, held map[state.ID]state.ID, j *work) state.Plan {
	if len(p.ledger.of)+len(j.earlier) == 0 && len(p.unfinished) == 0 && j.leaving == nil {
		return stage
	}
	out := stage[:0] // nobody needs the stage any more
	for _, op := range stage {
		if s := j.earlier[op.ID]; s != nil && s.rests() {
			p.fail(r, op, s.Err, j)
			p.hold(held, op.ID)
			continue
		}
		if why := p.obstacle(op, held); why != "" {
			p.fail(r, op, fmt.Errorf("%w %s", kernel.ErrBlocked, why), j)
			p.hold(held, op.ID)
			continue
		}
		out = append(out, op)
	}
	return out
}

// obstacle returns what op has to wait for, or "".
func (p *Proxier) obstacle(op state.Op, held map[state.ID]state.ID) string {
	if op.Verb == state.Delete {
		by, ok := held[op.ID]
		if !ok {
			by, ok = p.leaves(op.ID)
		}
		if ok {
			return by.String() + " to go"
		}
		return ""
	}
	p.needs = p.config.Desired.Needs(p.needs[:0], op.ID)
	for _, need := range p.needs {
		if !p.actual.Has(need) {
			return need.String()
		}
	}
	return ""
}

// held returns what must stay because something that needs it could not be
// deleted, with that something.
func (p *Proxier) held() map[state.ID]state.ID {
	out := map[state.ID]state.ID{}
	if p.ledger.leaving == 0 {
		return out
	}
	for id, s := range p.ledger.of {
		if !s.want.Present {
			p.hold(out, id)
		}
	}
	return out
}

// hold notes what must stay as long as an object does that is to go and could
// not be deleted, or not even drained.
func (p *Proxier) hold(held map[state.ID]state.ID, id state.ID) {
	if p.ledger.wants(id) {
		return
	}
	p.needs = p.config.Desired.Needs(p.needs[:0], id)
	for _, need := range p.needs {
		held[need] = id
	}
}

// forget drops the draining real servers that went with their virtual server.
func (p *Proxier) forget(op state.Op) {
	if op.Verb != state.Delete || op.ID.Kind != state.VirtualServer {
		return
	}
	for id := range p.draining {
		if id.Server() == op.ID {
			p.note(state.Op{Verb: state.Delete, ID: id})
			delete(p.draining, id)
		}
	}
}

// careful leaves out of ops what rests on something being absent from an
// incomplete source: removals, and refusing what is served now.
func careful(ops []state.Op, actual *state.State) []state.Op {
	var out []state.Op
	for _, op := range ops {
		switch {
		case op.Verb == state.Delete:
		case op.Verb == state.Change && op.ID.Kind == state.RealServer && op.Spec.Value().Weight == 0:
		case op.Verb == state.Add && op.ID.Refuses() && served(op.ID, actual):
		default:
			out = append(out, op)
		}
	}
	return out
}

// served reports whether the frontend that a refusing entry is for is published.
func served(id state.ID, actual *state.State) bool {
	for _, set := range state.SetNames() {
		if id.Set = set; set.Publishes() {
			if actual.Has(id) {
				return true
			}
		}
	}
	return false
}
