package proxier

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"kube-ipvs/proxier/model"
)

// logged is how many failures or drifts of a round are logged one by one.
const logged = 20

// waiting makes public what there is to say before the source has delivered.
// It is no round: nothing was looked at, and Number is 0.
func (p *Proxier) waiting(r *Round) {
	p.problems(r)
	r.NotReady = "the Services and EndpointSlices have not been read yet"
	p.last.Store(r)
}

// notReady returns what of the start is not done, or nothing from the moment on
// when all was.
func (p *Proxier) notReady(r *Round) string {
	switch {
	case p.ready:
		return ""
	case r.Err != nil:
		return r.Err.Error()
	case !p.synced:
		return "not everything could be read at the start: see the problems in the log"
	case r.Failing.Count > r.Failing.Others:
		return fmt.Sprintf("%d writes fail, first: %s", r.Failing.Count-r.Failing.Others, r.Failing.First)
	}
	p.ready = true
	return ""
}

// report makes the round public and logs it: one line, and one for each object
// that failed or was found changed.
func (p *Proxier) report(r *Round) {
	r.Objects = p.objects.Map()
	r.Draining, r.Drains = len(p.draining), p.drains()
	r.Known.Services, r.Known.Slices = p.model.Size()
	r.Failing = p.failing.sum(p.pending)
	r.Unwritten = p.failing.longest()
	r.Checks, r.NoLocal = p.tallies.sum()
	r.NotReady = p.notReady(r)
	r.NodePort = p.config.Desired.NodePortAddresses
	p.problems(r)
	p.last.Store(r)
	if p.config.Observe != nil {
		p.config.Observe(r)
	}
	if r.Err != nil {
		p.log.Error("round aborted; the kernel stays as it is", "round", r.Number, "err", r.Err, "retry", p.retryDelay)
		return
	}
	for i, f := range r.Failures {
		if i == logged {
			p.log.Error("more writes failed", "count", len(r.Failures)-logged)
			break
		}
		p.log.Error("write failed; it is retried", "op", f.Op.String(), "err", f.Err)
	}
	for i, d := range r.Drift {
		if i == logged {
			p.log.Warn("more drift", "count", len(r.Drift)-logged)
			break
		}
		p.log.Warn("drift: somebody else changed what is ours", "what", d.String())
	}
	level := slog.LevelInfo
	if r.Writes() == 0 && len(r.Failures) == 0 && len(r.Drift) == 0 && r.Number > 1 {
		level = slog.LevelDebug
	}
	if !p.log.Enabled(context.Background(), level) {
		return
	}
	args := []any{"round", r.Number, "took", r.Took, "full", r.Full || r.Audited, "services", r.Services, "writes", r.Writes(),
		"failed", len(r.Failures), "drift", len(r.Drift), "draining", len(p.draining), "objects", p.actual.Len(),
		"messages", r.Kernel.Messages, "sends", r.Kernel.Sends, "processes", r.Kernel.Processes}
	for _, w := range slices.SortedFunc(maps.Keys(r.Ops), func(a, b Write) int { return cmp.Compare(a.String(), b.String()) }) {
		args = append(args, w.String(), r.Ops[w])
	}
	p.log.Log(context.Background(), level, "round", args...)
}

// problems collects what is wrong with what was asked for and logs what is
// new and what is mended.
func (p *Proxier) problems(r *Round) {
	all := slices.Concat(p.sources, p.model.Problems(), p.node.problems(p.config))
	if p.table != nil {
		all = append(all, p.table.Problems()...)
		all = append(all, p.unwritten()...)
	}
	slices.SortFunc(all, func(a, b model.Problem) int { return cmp.Compare(a.String(), b.String()) })
	now := make(map[string]bool, len(all))
	for _, pr := range all {
		text := pr.String()
		if now[text] {
			continue
		}
		now[text] = true
		r.Problems = append(r.Problems, pr)
		if !p.told[text] {
			p.log.Warn("problem", "origin", pr.Origin, "object", pr.Object, "field", pr.Field, "what", pr.Message)
		}
	}
	for text := range p.told {
		if !now[text] {
			p.log.Info("problem solved", "was", text)
		}
	}
	p.told = now
}
