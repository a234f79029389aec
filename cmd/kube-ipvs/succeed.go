package main

import (
	"context"
	"slices"

	"kube-ipvs/proxier"
	"kube-ipvs/proxier/kernel"
)

// succeed removes what was there before us, when our rules stand: what an earlier run has
// left in the other variant of iptables, and with --takeover what kube-proxy has left.
// What cannot be removed is tried again after the next round.
func (d *daemon) succeed(ctx context.Context) error {
	var left []func(context.Context, *proxier.Round) (done bool)
	if d.config.Takeover {
		left = append(left, d.takeOver())
	}
	left = append(left, d.leaveOtherVariant) // and say whose rules it has, when kube-proxy's are gone
	for len(left) > 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-d.rounds:
		}
		if r := d.proxier.Last(); r.Number > 0 && r.NotReady == "" {
			left = slices.DeleteFunc(left, func(remove func(context.Context, *proxier.Round) bool) bool { return remove(ctx, r) })
		}
	}
	return nil
}

// leaveOtherVariant removes rules of ours from the variant of iptables that is not used,
// and logs what others have there. Their rules apply as well.
func (d *daemon) leaveOtherVariant(ctx context.Context, _ *proxier.Round) bool {
	other := d.backend.Other()
	removed, err := kernel.RemoveLeft(ctx, other)
	if err != nil {
		d.log.Error("rules that an earlier kube-ipvs has left in the other variant of iptables could not be removed; it is tried again with the next round", "variant", other, "err", err)
		return false
	}
	if removed > 0 {
		d.log.Info("removed the rules that an earlier kube-ipvs has left in the other variant of iptables", "variant", other, "chains", removed)
	}
	n, err := other.CountRules()
	if err != nil {
		d.log.Warn("the other variant of iptables could not be looked at", "variant", other, "err", err)
	} else if n > 0 {
		d.log.Warn("the other variant of iptables has rules, too, and both apply: what one of them drops is dropped", "variant", other, "rules", n)
	}
	return true
}

// takeOver returns what removes the things of kube-proxy: most of them at the first time,
// and the rest when the last connection over its virtual servers has ended.
func (d *daemon) takeOver() func(context.Context, *proxier.Round) bool {
	first := true
	return func(ctx context.Context, r *proxier.Round) bool {
		if !first && r.Draining > 0 {
			return false
		}
		if first {
			d.tellDenials(ctx)
		}
		n, err := kernel.RemoveKubeProxy(ctx)
		if err != nil {
			d.log.Error("not all that kube-proxy has left could be removed; it is tried again with the next round", "err", err)
			return false
		}
		d.log.Info("taken over from kube-proxy", "removed", n, "draining", r.Draining)
		first = false
		return r.Draining == 0
	}
}
