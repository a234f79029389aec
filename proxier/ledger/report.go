package ledger

import (
	"fmt"

	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Report puts into a round the known objects, and those that fail, drain or are left off. The
// log has each failure once: it is in Begun of one round only.
func (l *Ledger) Report(r *report.Round) {
	sum := l.failing.sum(l.config.Desired)
	r.Objects = l.sums.objects.Map()
	r.Draining, r.Drains = l.sumDrains()
	r.Failing, r.Unwritten = sum.failing, sum.longest
	r.Begun, r.Mended, l.mended = l.untold(r.Failures), l.mended, nil
	for _, w := range l.plans {
		r.Left += len(w.plan)
	}
	r.Unread = l.reading.err
	r.NotReady = l.notReady(r.Left, sum.unready)
}

// notReady returns why the start is not complete. Once it has returned "", it always does.
func (l *Ledger) notReady(left int, unready string) string {
	switch {
	case l.ready:
	case l.reading.err != nil:
		return l.reading.err.Error()
	case !l.complete:
		return "not everything could be read at the start: see the problems in the log"
	case unready != "":
		return "a write fails: " + unready
	case left > 0:
		return fmt.Sprintf("%d writes are still to come", left)
	}
	l.ready = true
	return ""
}

// untold returns the failures of a round that the log should have, each object once. It leaves
// out writes that wait for another one, and those that are problems of a Service.
func (l *Ledger) untold(failures []report.Failure) []report.Unwritten {
	var out []report.Unwritten
	for i := range failures {
		s := l.failing.of[failures[i].Op.ID]
		if s == nil || s.told || s.cause == state.CauseBlocked || s.isProblem() {
			continue
		}
		s.told = true
		u := s.unwritten()
		u.Failure = failures[i]
		out = append(out, u)
	}
	return out
}
