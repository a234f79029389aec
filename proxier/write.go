package proxier

import (
	"context"
	"errors"
	"fmt"

	"kube-ipvs/proxier/state"
)

// write compares wants with the kernel and writes the difference, stage by
// stage: what a failed write was to stand on or to make way for waits with it.
func (p *Proxier) write(ctx context.Context, r *Round, w wanted) {
	ops := p.diff(w)
	if !p.synced {
		ops = careful(ops, p.actual)
	}
	if len(p.pending) > 0 {
		for i := range w.some { // what failed before and is in w.all is not pending any more
			delete(p.pending, w.some[i].ID)
		}
	}
	held := p.held()
	var done tally
	for stage := range state.NewPlan(ops).Stages() {
		stage = p.possible(r, stage, held)
		if len(stage) == 0 {
			continue
		}
		errs := p.kernel.Apply(ctx, stage)
		for i, op := range stage {
			if errs != nil && errs[i] != nil {
				p.fail(r, op, errs[i])
				p.hold(held, op.ID)
				continue
			}
			p.apply(op)
			p.forget(op)
			if len(p.asked) > 0 {
				delete(p.asked, op.ID)
			}
			done.count(op)
		}
	}
	done.add(r.Ops)
}

// tally counts the writes that succeeded.
type tally [state.Delete + 1]state.Counts

func (t *tally) count(op state.Op) { t[op.Verb][op.ID.Kind]++ }

func (t *tally) add(to map[Write]int) {
	for verb := range t {
		for kind, n := range t[verb] {
			if n > 0 {
				to[Write{state.Verb(verb).String(), state.Kind(kind).String()}] += n
			}
		}
	}
}

// errWaits is wrapped by the failure of a write whose turn has not come.
var errWaits = errors.New("it waits for")

// apply notes in what the kernel is known to hold that op was written.
func (p *Proxier) apply(op state.Op) {
	if old, had := p.actual.Apply(op); had {
		p.digest.Remove(op.ID, old)
		p.objects[op.ID.Kind]--
	}
	if op.Verb != state.Delete {
		p.digest.Add(op.ID, op.Spec)
		p.objects[op.ID.Kind]++
	}
}

// possible returns the ops of a stage of which nothing stands in the way. A
// real server added to a virtual server that could not be added would go to
// somebody else's of the same address; a frontend published without what is
// behind it would answer wrongly. As long as no write has failed nothing does:
// what an object needs is wanted too, and there, or in an earlier stage.
func (p *Proxier) possible(r *Round, stage state.Plan, held map[state.ID]state.ID) state.Plan {
	if len(p.pending) == 0 {
		return stage
	}
	out := stage[:0] // nobody needs the stage any more
	for _, op := range stage {
		if why := p.obstacle(op, held); why != "" {
			p.fail(r, op, fmt.Errorf("%w %s", errWaits, why))
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
		if by, ok := held[op.ID]; ok {
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
	for id, w := range p.pending {
		if !w.Present {
			p.hold(out, id)
		}
	}
	return out
}

// hold notes what must stay as long as an object does that is to go and could
// not be deleted, or not even drained.
func (p *Proxier) hold(held map[state.ID]state.ID, id state.ID) {
	if w := p.pending[id]; w.Present {
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
			p.apply(state.Op{Verb: state.Delete, ID: id})
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
