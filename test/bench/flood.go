package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

const floodGap = 10 * time.Millisecond

// flooded measures how changes are followed when there are a hundred a second.
func (r *controlRun) flooded(ctx context.Context) error {
	told, err := r.programmed(ctx)
	if err != nil {
		return err
	}
	before, began := r.proxy.cpu(), time.Now()
	var others churn
	others.begin(ctx, r, floodGap, 8)
	defer others.halt()
	f := r.follower(func(ctx context.Context, i int, active bool) error {
		return r.lab.control.Rewrite(ctx, r.lab.probeSlice(i, active))
	})
	changes := f.changes(ctx, 1<<20, gap, r.limits.flood)
	others.halt()
	took, cpu := time.Since(began), r.proxy.cpu()-before
	if f.err != nil {
		return f.err
	}
	if others.err != nil {
		return others.err
	}
	r.proxy.rested(ctx, r.limits.rest, r.limits.glances)
	wrong := 0.0
	if out, err := r.plan(ctx); err != nil {
		wrong = 1
		r.say("plan: %v\n%.2000s", err, out)
	}
	for active, n := range f.missing {
		r.say("%d changes to active %v were not seen", n, active)
	}
	counts := map[string]float64{
		"changes a second": float64(changes+int(others.made.Load())) / took.Seconds(), "% of the CPU": 100 * cpu.Seconds() / took.Seconds(),
		"not seen": float64(f.missing[true] + f.missing[false]), "not programmed at the end": wrong,
	}
	after, err := r.programmed(ctx)
	if err != nil {
		return err
	}
	for _, ms := range []float64{5, 25, 100} {
		counts[fmt.Sprintf("%% of rounds done %.0f ms after the event", ms)] = 100 * (after[ms] - told[ms]) / (after[math.Inf(1)] - told[math.Inf(1)])
	}
	r.add(&Figure{Topic: flood, Unit: units[flood], Samples: append(f.seen[true], f.seen[false]...), Counts: counts, Note: fmt.Sprintf("written into etcd, past kube-apiserver; p50 of the watch meanwhile is %s ms", number((&Figure{Samples: append(f.watched[true], f.watched[false]...)}).Median()))})
	return nil
}

var bucket = regexp.MustCompile(`(?m)^kube_ipvs_programming_duration_seconds_bucket\{le="([^"]+)"\} (\S+)$`)

// programmed returns how many rounds so far took at most some milliseconds from the
// first change to the end.
func (r *controlRun) programmed(ctx context.Context) (map[float64]float64, error) {
	text, err := r.lab.Node.Shell(ctx, "curl -sf http://127.0.0.1:10249/metrics")
	if err != nil {
		return nil, err
	}
	rounds := map[float64]float64{}
	for _, m := range bucket.FindAllStringSubmatch(text, -1) {
		limit, wrong := strconv.ParseFloat(m[1], 64)
		n, bad := strconv.ParseFloat(m[2], 64)
		if err := errors.Join(wrong, bad); err != nil {
			return nil, err
		}
		rounds[1000*limit] = n
	}
	if len(rounds) == 0 {
		return nil, errors.New("the metrics do not tell how long it took to program changes")
	}
	return rounds, nil
}

// plan fails if kube-ipvs would write something now.
func (r *controlRun) plan(ctx context.Context) (string, error) {
	var out []byte
	err := r.lab.Node.Do(func() error {
		var err error
		out, err = exec.CommandContext(ctx, r.lab.binary, "plan", "--config="+r.proxy.config).CombinedOutput()
		return err
	})
	return string(out), err
}
