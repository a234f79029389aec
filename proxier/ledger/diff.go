package ledger

import (
	"slices"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
)

// Plan returns the writes that a part needs. Until Complete, it leaves out the unsafe ones: see
// dropUnsafe.
func (l *Ledger) Plan(part desired.Part) state.Plan {
	ops := state.Diff(part.Some, l.actual, l)
	if part.All != nil {
		all, others := state.DiffAll(part.All.All(), part.All.Len(), l.actual)
		all = append(all, state.Diff(others, l.actual, l)...)
		ops = append(all, ops...)
	}
	if !l.complete {
		ops = dropUnsafe(ops, l.actual)
	}
	return state.NewPlan(ops)
}

// dropUnsafe removes the writes that an incomplete source does not justify: deletions,
// weights of 0, and refusals of frontends that the kernel serves now.
func dropUnsafe(ops []state.Op, actual *state.State) []state.Op {
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

// served reports whether the kernel publishes the frontend of a refusing entry.
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

// lastWord removes duplicates: each object stays in the last part that has it, and a failed
// object only if no part has it.
func lastWord(parts []desired.Part, failed []state.Want) ([]desired.Part, []state.Want) {
	if len(parts) == 0 || len(parts) == 1 && len(failed) == 0 {
		return parts, failed
	}
	named := map[state.ID]bool{}
	for i := range slices.Backward(parts) {
		parts[i].Some = unnamed(parts[i].Some, named)
	}
	return parts, unnamed(failed, named)
}

// unnamed returns the wants whose IDs are not in named, and adds these IDs.
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
