package explain

import (
	"fmt"
	"slices"
	"strings"
)

// verdict returns one line: first what is wrong, then the clients that no endpoint serves, which
// may be as the Service wants it.
func (e *Explanation) verdict() string {
	var out []string
	if faults := e.faults(); len(faults) > 0 {
		out = append(out, "Wrong: "+strings.Join(faults, "; ")+".")
	}
	if turned := e.unserved(); len(turned) > 0 {
		out = append(out, "Not served: "+strings.Join(turned, "; ")+".")
	}
	if e.AsDesired {
		out = append(out, "No object differs.")
	}
	return strings.Join(out, " ")
}

func (e *Explanation) faults() []string {
	var out []string
	switch len(e.Problems) {
	case 0:
	case 1:
		out = append(out, strings.TrimSuffix(e.Problems[0], "."))
	default:
		out = append(out, fmt.Sprintf("%d problems, the first is %s", len(e.Problems), strings.TrimSuffix(e.Problems[0], ".")))
	}
	if !e.Complete {
		out = append(out, "some objects cannot be read")
	}
	switch len(e.Differs) {
	case 0:
	case 1:
		out = append(out, "one object differs, "+e.Differs[0].name())
	default:
		out = append(out, fmt.Sprintf("%d objects differ, the first is %s", len(e.Differs), e.Differs[0].name()))
	}
	return out
}

// name names a difference: missing real server ...
func (d *Difference) name() string { return d.What + " " + d.Object }

// unserved returns a text for each frontend and outcome but Served: its clients, and what becomes
// of them.
func (e *Explanation) unserved() []string {
	var out []string
	for i := range e.Frontends {
		f := &e.Frontends[i]
		ways := slices.DeleteFunc(slices.Clone(f.Ways), func(w Way) bool { return w.Outcome == Served })
		for _, g := range groups(ways, func(a, b *Way) bool { return a.Outcome == b.Outcome }) {
			out = append(out, fmt.Sprintf("%s at %s: %s", names(g), f.title(), outcomes[g[0].Outcome]))
		}
	}
	return out
}
