package ledger

import (
	"slices"

	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// agreed returns the differences between a second reading and the ledger, sorted, of the
// objects that differed in the first reading too. For all other objects it puts the ledger's
// state into read, since a dump may be incomplete. It may lack objects that a resize of the
// kernel's table moves and, up to Linux 6.12 at least, virtual servers while those of other
// network namespaces come and go, in each dump others. On 6.1 TestEdits added such a virtual
// server once more, and its Service had a problem.
func agreed(first []report.Drift, believed, read *state.State) (out []report.Drift) {
	for _, d := range differences(believed, read) {
		if _, both := slices.BinarySearchFunc(first, d.ID, func(f report.Drift, id state.ID) int { return f.ID.Compare(id) }); both {
			out = append(out, d)
		} else if spec, ok := believed.Get(d.ID); ok {
			read.Put(d.ID, spec)
		} else {
			read.Delete(d.ID)
		}
	}
	return out
}

// differences returns the changes from believed to read, sorted.
func differences(believed, read *state.State) []report.Drift {
	var out []report.Drift
	for id, spec := range believed.All() {
		if have, ok := read.Get(id); !ok {
			out = append(out, report.Drift{ID: id, What: "is gone"})
		} else if !have.Equal(spec) {
			what, now := "was changed", have.Value()
			switch {
			case id.Kind == state.Rules:
				what += ": " + now.Text
			case now.Condition != state.Sound:
				what += ": " + now.Condition.String()
			case id.Kind == state.VIP && now.Bare && !spec.Value().Bare:
				what += ": its address is gone from kube-ipvs0"
			}
			out = append(out, report.Drift{ID: id, What: what})
		}
	}
	for id := range read.All() {
		if !believed.Has(id) {
			out = append(out, report.Drift{ID: id, What: "was added"})
		}
	}
	slices.SortFunc(out, func(a, b report.Drift) int { return a.ID.Compare(b.ID) })
	return out
}
