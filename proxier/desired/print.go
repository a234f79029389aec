package desired

import (
	"fmt"
	"io"

	"kube-ipvs/proxier/state"
)

// maxAligned is the longest write that others are aligned with. Changed rules take one long
// line, which would push every reason out of sight.
const maxAligned = 100

// Print prints the plan for people, one write and its reason a line, after the problems.
func (p *Preview) Print(out io.Writer) {
	for _, text := range p.Problems {
		fmt.Fprintln(out, "problem:", text)
	}
	if !p.Complete {
		fmt.Fprintln(out, "some manifests cannot be read, as these problems say: until they can, run removes and refuses nothing")
	}
	if len(p.Plan) == 0 {
		text := "nothing to do"
		if !p.Complete {
			text += " for those that can be read"
		}
		fmt.Fprintln(out, text)
		return
	}
	texts, width := make([]string, len(p.Plan)), 0
	for i, op := range p.Plan {
		if texts[i] = op.String(); len(texts[i]) <= maxAligned {
			width = max(width, len(texts[i]))
		}
	}
	for i, op := range p.Plan {
		fmt.Fprintf(out, "%-*s  %s\n", width, texts[i], p.reason(op))
	}
	fmt.Fprintf(out, "%d writes\n", len(p.Plan))
}

// reason returns the reason of a write.
func (p *Preview) reason(op state.Op) string {
	switch text := p.Why[op.ID]; {
	case text != "":
		return text
	case op.Verb == state.Delete:
		return "no Service needs it"
	case op.Drains:
		return "no Service needs it: it goes when its connections have ended"
	}
	return "needed by all Services"
}
