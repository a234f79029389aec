package proxier

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// waiting makes public what there is to say before the source has delivered.
// It is no round: nothing was looked at, and Number is 0.
func (p *Proxier) waiting(r *report.Round) {
	p.problems(r)
	r.NotReady = "the Services and EndpointSlices have not been read yet"
	p.last.Store(r)
}

// notReady returns what of the start is not done, or nothing from the moment on
// when all was that can be.
func (p *Proxier) notReady(r *report.Round, unready string) string {
	switch {
	case p.ready:
		return ""
	case r.Err != nil:
		return r.Err.Error()
	case !p.synced:
		return "not everything could be read at the start: see the problems in the log"
	case unready != "":
		return "a write fails: " + unready
	case r.Left > 0:
		return fmt.Sprintf("%d writes are still to come", r.Left)
	}
	p.ready = true
	return ""
}

// report makes the round public and logs it: one line, and one for each object
// that begins to fail or was found changed.
func (p *Proxier) report(r *report.Round) {
	r.Objects = p.ledger.Objects().Map()
	r.Flows = p.sweeper.Sum()
	r.Draining, r.Drains = p.ledger.SumDrains()
	r.Known.Services, r.Known.Slices = p.model.Size()
	failing := p.ledger.Sum()
	r.Failing, r.Unwritten = failing.Failing, failing.Longest
	r.Checks, r.NoLocal = p.tallies.sum()
	r.Left = p.ledger.Left()
	r.NotReady = p.notReady(r, failing.Unready)
	r.NodePort, r.NodeIPs = p.config.Desired.NodePortAddresses, p.facts.NodeIPs
	p.problems(r)
	p.last.Store(r)
	if p.config.Observe != nil {
		p.config.Observe(r)
	}
	if p.logAborted(r); r.Err != nil {
		return
	}
	p.logFailures(r)
	p.logDrift(r)
	p.logRound(r)
}

// logAborted logs when rounds begin and cease to be aborted.
func (p *Proxier) logAborted(r *report.Round) {
	switch {
	case r.Err != nil && p.abortedAt.IsZero():
		p.abortedAt = r.Started
		p.log.Error("rounds are aborted; the kernel stays as it is, and they are tried again", "round", r.Number, "err", r.Err)
	case r.Err == nil && !p.abortedAt.IsZero():
		p.log.Info("rounds go on", "round", r.Number, "after", time.Since(p.abortedAt))
		p.abortedAt = time.Time{}
	}
}

// logFailures logs writes that begin to fail, once an object.
func (p *Proxier) logFailures(r *report.Round) {
	lines := bounded{log: p.log}
	for _, u := range p.ledger.Untold(r.Failures) {
		lines.write(slog.LevelError, "write fails; it is tried again", "cause", u.Cause, "op", u.Op.String(), "err", u.Err)
	}
	lines.end("more writes fail")
}

// mended logs writes that fail no more.
func (p *Proxier) mended(writes []report.Unwritten) {
	lines := bounded{log: p.log}
	for _, u := range writes {
		lines.write(slog.LevelInfo, "write fails no more", "op", u.Op.String(), "after", time.Since(u.Since))
	}
	lines.end("more writes fail no more")
}

func (p *Proxier) logDrift(r *report.Round) {
	lines := bounded{log: p.log}
	for _, d := range r.Drift {
		lines.write(slog.LevelWarn, "drift: another program changed an object of kube-ipvs", "what", d.String())
	}
	lines.end("more drift")
}

// logRound logs a round. One that found nothing to do is of interest for
// debugging only.
func (p *Proxier) logRound(r *report.Round) {
	level := slog.LevelInfo
	if r.Writes() == 0 && len(r.Drift) == 0 && r.Number > 1 { // what begins to fail has a line of its own
		level = slog.LevelDebug
	}
	if !p.log.Enabled(context.Background(), level) {
		return
	}
	failed := r.Failed()
	args := []any{"round", r.Number, "took", r.Took, "full", r.Full || r.Audited, "services", r.Services, "writes", r.Writes(),
		"failed", failed, "waiting", len(r.Failures) - failed, "left", r.Left, "drift", len(r.Drift), "draining", r.Draining, "objects", p.ledger.Actual().Len(),
		"messages", r.Kernel.Messages, "sends", r.Kernel.Sends, "processes", r.Kernel.Processes}
	for _, w := range slices.SortedFunc(maps.Keys(r.Ops), func(a, b report.Write) int { return cmp.Compare(a.String(), b.String()) }) {
		args = append(args, w.String(), r.Ops[w])
	}
	p.log.Log(context.Background(), level, "round", args...)
}

// logged is how many lines of a sort a round logs.
const logged = 20

// bounded writes log lines of a sort, and counts those that are too many.
type bounded struct {
	log   *slog.Logger
	n     int
	level slog.Level
}

func (b *bounded) write(level slog.Level, message string, args ...any) {
	b.level = level
	if b.n++; b.n <= logged {
		b.log.Log(context.Background(), level, message, args...)
	}
}

// end says how many lines were left out.
func (b *bounded) end(more string) {
	if b.n > logged {
		b.log.Log(context.Background(), b.level, more, "count", b.n-logged)
	}
}

// problems collects what is wrong with what was asked for and logs what is
// new and what is mended.
func (p *Proxier) problems(r *report.Round) {
	b := &p.board
	b.Take(p.model.Board())
	b.Replace("source", p.sources)
	b.Replace("node", p.node.problems(p.config, p.facts))
	if p.table != nil {
		b.Take(p.table.Board())
		b.Replace("kernel", p.ledger.Problems(p))
	}
	var came, went []model.Problem
	r.Problems, came, went = b.Sum()
	if len(came)+len(went) > 0 {
		p.teller.tell(p.log, came, went)
	}
}

// Owners is part of ledger.Services.
func (p *Proxier) Owners(ids map[state.ID]bool) map[state.ID]model.Key { return p.table.Owners(ids) }

// Identity is part of ledger.Services.
func (p *Proxier) Identity(key model.Key) (origin, uid string) { return p.model.Identity(key) }
