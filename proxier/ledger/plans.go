package ledger

import (
	"fmt"
	"slices"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Writing is a plan under way.
type Writing struct {
	Plan    state.Plan           // what is left of it
	earlier map[state.ID]*status // of its objects whose last write had failed
	// leaving are the deletions of a plan that was left off: the last object to go
	// by each object that it needs, and that must not go before it. Nil: it was not.
	leaving map[state.ID]state.ID
}

// WasLeft reports whether the plan was left off before.
func (w *Writing) WasLeft() bool { return w.leaving != nil }

// Begin begins a plan about what is wanted of some objects, or of all. It takes them out
// of the plans that were left off: a Service that changes faster than it is written would
// have these grow without bound.
func (l *Ledger) Begin(some []state.Want, all bool) *Writing {
	w := &Writing{}
	if all {
		w.earlier, l.plans = l.failing.takeAll(), nil
	} else {
		w.earlier = l.failing.take(some)
	}
	l.supersede(some)
	return w
}

func (l *Ledger) supersede(wants []state.Want) {
	if len(l.plans) == 0 || len(wants) == 0 {
		return
	}
	newer := make(map[state.ID]bool, len(wants))
	for i := range wants {
		newer[wants[i].ID] = true
	}
	l.plans = slices.DeleteFunc(l.plans, func(w *Writing) bool {
		had := len(w.Plan)
		w.Plan = slices.DeleteFunc(w.Plan, func(op state.Op) bool { return newer[op.ID] })
		switch len(w.Plan) {
		case had:
			return false
		case 0:
			l.End(w)
			return true
		}
		l.noteLeaving(w)
		return false
	})
}

// End ends a plan: what has failed before and does not any more is told.
func (l *Ledger) End(w *Writing) {
	var mended []report.Unwritten
	for id, s := range w.earlier {
		if s.told && l.failing.of[id] == nil {
			mended = append(mended, s.unwritten())
		}
	}
	if len(mended) > 0 {
		l.mended(mended)
	}
}

// Leave leaves a plan off.
func (l *Ledger) Leave(w *Writing) {
	l.plans = append(l.plans, w)
	if w.leaving == nil {
		l.noteLeaving(w)
	}
}

// GoOn returns the plan that was left off first, which is under way again; nil: there
// is none.
func (l *Ledger) GoOn() *Writing {
	if len(l.plans) == 0 {
		return nil
	}
	w := l.plans[0]
	l.plans = l.plans[1:]
	return w
}

// LeftOff returns how many plans were left off.
func (l *Ledger) LeftOff() int { return len(l.plans) }

// Left returns how many writes the plans that were left off have still.
func (l *Ledger) Left() int {
	n := 0
	for _, w := range l.plans {
		n += len(w.Plan)
	}
	return n
}

// Unblock has writes tried again at once that wait for others.
func (l *Ledger) Unblock() { l.failing.wake(false) }

// Free reports whether nothing stands in the way of a plan's writes: as long as no write
// has failed and no plan was left off, what an object needs is wanted too, and there, or
// in an earlier stage.
func (l *Ledger) Free(w *Writing) bool {
	return len(l.failing.of)+len(w.earlier) == 0 && len(l.plans) == 0 && w.leaving == nil
}

// Obstacle returns why a write of a plan must not be tried now, or nil. A real server
// added to a virtual server that could not be added would go to another program's of the
// same address; a frontend published without what is behind it would answer wrongly.
func (l *Ledger) Obstacle(op state.Op, w *Writing) error {
	if s := w.earlier[op.ID]; s != nil && s.rests() {
		return s.Err
	}
	if op.Verb == state.Delete {
		by, ok := l.mustStay()[op.ID]
		if !ok {
			by, ok = l.leaves(op.ID)
		}
		if ok {
			return fmt.Errorf("%w %s to go", kernel.ErrBlocked, by)
		}
		return nil
	}
	l.needs = l.desired.Needs(l.needs[:0], op.ID)
	for _, need := range l.needs {
		if !l.actual.Has(need) {
			return fmt.Errorf("%w %s", kernel.ErrBlocked, need)
		}
	}
	return nil
}

// mustStay returns what must stay because an object that needs it is to go and could
// not be deleted, or not even drained, with that object.
func (l *Ledger) mustStay() map[state.ID]state.ID {
	f := &l.failing
	if f.leaving == 0 {
		return nil
	}
	if f.held == nil {
		f.held = map[state.ID]state.ID{}
		for id, s := range f.of {
			if !s.want.Present {
				l.needed(f.held, id)
			}
		}
	}
	return f.held
}

// needed notes in held what an object needs.
func (l *Ledger) needed(held map[state.ID]state.ID, id state.ID) {
	l.needs = l.desired.Needs(l.needs[:0], id)
	for _, need := range l.needs {
		held[need] = id
	}
}

// noteLeaving notes what a plan that was left off is to delete.
func (l *Ledger) noteLeaving(w *Writing) {
	w.leaving = map[state.ID]state.ID{}
	for i := range w.Plan {
		if op := &w.Plan[i]; !op.Want().Present && !l.failing.wants(op.ID) {
			l.needed(w.leaving, op.ID)
		}
	}
}

// leaves reports whether a plan that was left off is to delete an object that
// needs this one.
func (l *Ledger) leaves(need state.ID) (by state.ID, ok bool) {
	for _, w := range l.plans {
		if by, ok = w.leaving[need]; ok && l.actual.Has(by) {
			return by, true
		}
	}
	return by, false
}
