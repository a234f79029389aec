package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
)

// retryRemoving is the time between tries of a removal.
const retryRemoving = time.Minute

// succeed removes old objects when the rules of kube-ipvs stand: the rules of an earlier run in
// the other variant of iptables, and with --takeover the objects of kube-proxy. It logs a
// failed removal, and tries it again after retryRemoving.
func (d *daemon) succeed(ctx context.Context) error {
	type remove func(context.Context, *report.Round) (done bool, err error)
	var left []remove
	if d.config.Own.Takeover {
		left = append(left, d.takeOver())
	}
	left = append(left, d.leaveOtherVariant) // last, to log whose rules it has without those of kube-proxy
	var notBefore time.Time
	for len(left) > 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-d.rounds:
		}
		r := d.proxier.Last()
		if r.Number == 0 || r.NotReady != "" || time.Now().Before(notBefore) {
			continue
		}
		left = slices.DeleteFunc(left, func(f remove) bool {
			done, err := f(ctx, r)
			if err != nil {
				d.log.Error("some rules of earlier runs or kube-proxy could not be removed; it is tried again", "after", retryRemoving, "err", err)
				notBefore = time.Now().Add(retryRemoving)
			}
			return done
		})
	}
	return nil
}

// leaveOtherVariant removes the rules of kube-ipvs from the variant of iptables that is not in
// use, and logs the rules of other programs there, which apply as well.
func (d *daemon) leaveOtherVariant(ctx context.Context, _ *report.Round) (done bool, err error) {
	other := d.backend.Other()
	removed, err := kernel.RemoveLeft(ctx, other)
	if err != nil {
		return false, fmt.Errorf("rules that an earlier kube-ipvs has left in the other variant of iptables: %w", err)
	}
	if removed > 0 {
		d.log.Info("removed the rules that an earlier kube-ipvs has left in the other variant of iptables", "variant", other, "chains", removed)
	}
	n, err := other.CountRules()
	if err != nil {
		d.log.Warn("the other variant of iptables could not be read", "variant", other, "err", err)
	} else if n > 0 {
		d.log.Warn("the other variant of iptables has rules too, and both apply: a packet passes only if both let it pass", "variant", other, "rules", n)
	}
	return true, nil
}

// takeOver returns a function that removes the objects of kube-proxy: most of them at the first
// call, and the rest when the last connection over its virtual servers has ended.
func (d *daemon) takeOver() func(context.Context, *report.Round) (done bool, err error) {
	first := true
	return func(ctx context.Context, r *report.Round) (done bool, err error) {
		if !first && r.Draining > 0 {
			return false, nil
		}
		if first {
			d.tellDenials(ctx)
		}
		n, err := kernel.RemoveKubeProxy(ctx)
		if err != nil {
			return false, fmt.Errorf("remove the objects of kube-proxy: %w", err)
		}
		d.log.Info("taken over from kube-proxy", "removed", n, "draining", r.Draining)
		first = false
		return r.Draining == 0, nil
	}
}
