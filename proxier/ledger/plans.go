package ledger

import (
	"fmt"
	"slices"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
)

// writing is a plan that the loop carries out.
type writing struct {
	plan    state.Plan           // the rest of it
	earlier map[state.ID]*status // statuses of its objects whose last write had failed
	// leaving has the deletions of a plan that was left off, by each object that must not be
	// deleted before them. Nil: the plan was not left off.
	leaving map[state.ID]state.ID
}

// wasLeft reports whether the plan was left off before.
func (w *writing) wasLeft() bool { return w.leaving != nil }

// begin begins a plan for some objects, or for all. It removes these objects from the plans
// that were left off, which would grow without bound if a Service changed faster than the loop
// writes it.
func (l *Ledger) begin(some []state.Want, all bool) *writing {
	w := &writing{}
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
	l.plans = slices.DeleteFunc(l.plans, func(w *writing) bool {
		had := len(w.plan)
		w.plan = slices.DeleteFunc(w.plan, func(op state.Op) bool { return newer[op.ID] })
		switch len(w.plan) {
		case had:
			return false
		case 0:
			l.end(w)
			return true
		}
		l.noteLeaving(w)
		return false
	})
}

// end ends a plan, and notes the writes that had failed before it and succeeded now.
func (l *Ledger) end(w *writing) {
	for id, s := range w.earlier {
		if s.told && l.failing.of[id] == nil {
			l.mended = append(l.mended, s.unwritten())
		}
	}
}

// leave leaves a plan off for goOn.
func (l *Ledger) leave(w *writing) {
	l.plans = append(l.plans, w)
	if w.leaving == nil {
		l.noteLeaving(w)
	}
}

// LeftOff returns how many plans were left off.
func (l *Ledger) LeftOff() int { return len(l.plans) }

// free reports whether no write of a plan can have an obstacle. If no write has failed and no
// plan was left off, each object that another one needs is in the kernel or in an earlier
// stage.
func (l *Ledger) free(w *writing) bool {
	return len(l.failing.of)+len(w.earlier) == 0 && len(l.plans) == 0 && w.leaving == nil
}

// obstacle returns why the loop must not try a write of a plan now, or nil. If a virtual
// server could not be added, its real servers could get into another program's virtual server
// of the same address; and a published frontend needs the objects behind it.
func (l *Ledger) obstacle(op state.Op, w *writing) error {
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
	l.needs = l.config.Desired.Needs(l.needs[:0], op.ID)
	for _, need := range l.needs {
		if !l.actual.Has(need) {
			return fmt.Errorf("%w %s", kernel.ErrBlocked, need)
		}
	}
	return nil
}

// mustStay returns the objects that must stay since an object that needs them could not be
// deleted, with that object.
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

// needed notes in held the objects that id needs.
func (l *Ledger) needed(held map[state.ID]state.ID, id state.ID) {
	l.needs = l.config.Desired.Needs(l.needs[:0], id)
	for _, need := range l.needs {
		held[need] = id
	}
}

// noteLeaving notes the deletions in a plan that was left off.
func (l *Ledger) noteLeaving(w *writing) {
	w.leaving = map[state.ID]state.ID{}
	for i := range w.plan {
		if op := &w.plan[i]; !op.Want().Present && !l.failing.wants(op.ID) {
			l.needed(w.leaving, op.ID)
		}
	}
}

// leaves reports whether a plan that was left off will delete an object that needs this one.
func (l *Ledger) leaves(need state.ID) (by state.ID, ok bool) {
	for _, w := range l.plans {
		if by, ok = w.leaving[need]; ok && l.actual.Has(by) {
			return by, true
		}
	}
	return by, false
}
