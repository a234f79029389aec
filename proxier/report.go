package proxier

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"

	"kube-ipvs/proxier/model"
)

// logged is how many failures or drifts of a round are logged one by one.
const logged = 20

// report makes the round public and logs it: one line, and one for each object
// that failed or was found changed.
func (p *Proxier) report(r *Round) {
	r.Objects = len(p.actual)
	p.problems(r)
	p.last.Store(r)
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
		p.log.Warn("drift: somebody else changed what is ours", "what", d)
	}
	level := slog.LevelInfo
	if r.Writes() == 0 && len(r.Failures) == 0 && len(r.Drift) == 0 && r.Number > 1 {
		level = slog.LevelDebug
	}
	args := []any{"round", r.Number, "took", r.Took, "full", r.Full, "services", r.Services, "writes", r.Writes(),
		"failed", len(r.Failures), "drift", len(r.Drift), "draining", len(p.draining), "objects", r.Objects,
		"messages", r.Kernel.Messages, "sends", r.Kernel.Sends, "processes", r.Kernel.Processes}
	for _, k := range slices.Sorted(maps.Keys(r.Ops)) {
		args = append(args, k, r.Ops[k])
	}
	p.log.Log(context.Background(), level, "round", args...)
}

// problems collects what is wrong with what was asked for and logs what is
// new and what is mended.
func (p *Proxier) problems(r *Round) {
	all := slices.Concat(p.sources, p.model.Problems())
	if p.table != nil {
		all = append(all, p.table.Problems()...)
	}
	slices.SortFunc(all, func(a, b model.Problem) int { return cmp.Compare(a.String(), b.String()) })
	now := make(map[string]bool, len(all))
	for _, pr := range all {
		text := pr.String()
		if now[text] {
			continue
		}
		now[text] = true
		r.Problems = append(r.Problems, text)
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
