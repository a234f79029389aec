package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"time"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// reconciler measures the loop alone, against the real kernel and without an
// API, beside programs that send the same messages in the same batches.
func reconciler(ctx context.Context, b *bench) error {
	if err := prepareNode(ctx); err != nil {
		return err
	}
	sizes := []size{{100, 10}, {1000, 10}, {10_000, 10}, {44_000, 1}, {5_000, 50}}
	if b.small {
		sizes = []size{{100, 10}, {500, 10}}
	}
	for _, s := range sizes {
		began := time.Now()
		if err := b.reconcile(ctx, s); err != nil {
			return fmt.Errorf("%d Services of %d endpoints: %w", s.services, s.endpoints, err)
		}
		b.say("reconciler, %d × %d: %s", s.services, s.endpoints, time.Since(began).Round(time.Second))
	}
	return nil
}

// prepareNode gives the node a link with an address and a default route.
func prepareNode(ctx context.Context) error {
	return shell(ctx, `ip link add bench0 type dummy 2>/dev/null || true
ip link set bench0 up; ip addr replace 192.0.2.10/24 dev bench0; ip route replace default via 192.0.2.1`)
}

func shell(ctx context.Context, script string) error {
	out, err := exec.CommandContext(ctx, "sh", "-ec", script).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", script, err, out)
	}
	return nil
}

// loop is a running proxier on a kernel.
type loop struct {
	*proxier.Proxier
	rounds chan *proxier.Round
	stop   func()
}

// loopConfig is what the daemon has by default.
func loopConfig() proxier.Config {
	return proxier.Config{
		Desired: desired.Config{
			Mode: desired.Image, Scheduler: "rr", IPv6: true, Images: desired.DefaultImages, MasqueradeBit: 14, NodeName: "bench",
		},
		AuditPeriod: time.Hour, DrainTimeout: 0, Log: slog.New(slog.DiscardHandler),
	}
}

// startLoop starts a loop that knows of events.
func startLoop(ctx context.Context, k kernel.Kernel, events []source.Event) *loop {
	l := &loop{rounds: make(chan *proxier.Round, 1024)}
	c := loopConfig()
	c.Observe = func(r *proxier.Round) { l.rounds <- r }
	l.Proxier = proxier.New(k, c)
	l.Events(events)
	l.Synced()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	l.stop = func() { cancel(); <-done }
	return l
}

// next returns the next round that took changes or was full, and checks that
// all went well.
func (l *loop) next(ctx context.Context) (*proxier.Round, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case r := <-l.rounds:
			switch {
			case r.Err != nil:
				return nil, r.Err
			case len(r.Failures) > 0:
				return nil, fmt.Errorf("%d writes failed, such as: %s", len(r.Failures), r.Failures[0])
			case r.Full || r.Audited || r.Changes != (proxier.Changes{}):
				return r, nil
			}
		}
	}
}

// recorder keeps the plans that a loop has the kernel carry out.
type recorder struct {
	*kernel.Linux
	plans []state.Plan
	on    bool
}

func (r *recorder) Apply(ctx context.Context, plan state.Plan) []error {
	if r.on {
		r.plans = append(r.plans, slices.Clone(plan))
	}
	return r.Linux.Apply(ctx, plan)
}

// take returns what was recorded since, and goes on or not.
func (r *recorder) take(on bool) []state.Plan {
	plans := r.plans
	r.plans, r.on = nil, on
	return plans
}

// kernelOptions are what the daemon has by default.
func kernelOptions() kernel.Options {
	return kernel.Options{IPv6: kernel.HasIPv6(), Binding: netutil.BindRoute}
}

func openRecorder(ctx context.Context) (*recorder, error) {
	k, err := kernel.OpenLinux(ctx, kernelOptions())
	return &recorder{Linux: k}, err
}

// reconcile measures everything at one size.
func (b *bench) reconcile(ctx context.Context, s size) error {
	events := eventsOf(s)
	k, err := openRecorder(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	repeat, changes := 3, 200
	if s.services*s.endpoints > 20_000 {
		repeat = 2
	}
	if b.small {
		repeat, changes = 2, 100
	}
	cold, gone := b.figure("cold start", s, "ms"), b.figure("delete all", s, "ms")
	floorCold, floorGone := b.floor("cold start", s, "ms"), b.floor("delete all", s, "ms")
	var coldPlans, gonePlans []state.Plan
	for range repeat {
		k.take(true)
		began := time.Now()
		l := startLoop(ctx, k, events)
		r, err := l.next(ctx)
		if err != nil {
			return err
		}
		cold.Samples = append(cold.Samples, ms(time.Since(began)))
		cold.Counts = countsOf(r.Kernel)
		coldPlans = k.take(true)
		began = time.Now()
		l.Events(deleted(events))
		if r, err = l.next(ctx); err != nil {
			return err
		}
		gone.Samples = append(gone.Samples, ms(time.Since(began)))
		gone.Counts = countsOf(r.Kernel)
		gonePlans = k.take(false)
		l.stop()
		if err := b.wipe(ctx); err != nil {
			return err
		}
	}
	for range repeat {
		bare, err := openSockets(ctx)
		if err != nil {
			return err
		}
		err = errors.Join(floorCold.replay(ctx, bare, coldPlans), floorGone.replay(ctx, bare, gonePlans), bare.close())
		if err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		if err := b.wipe(ctx); err != nil {
			return err
		}
	}
	return b.standing(ctx, k, s, events, changes)
}

// standing measures what happens while everything stands.
func (b *bench) standing(ctx context.Context, k *recorder, s size, events []source.Event, changes int) error {
	l := startLoop(ctx, k, events)
	if _, err := l.next(ctx); err != nil {
		return err
	}
	if err := b.oneChange(ctx, l, k, s, changes); err != nil {
		return err
	}
	if err := b.audit(ctx, l, s); err != nil {
		return err
	}
	l.stop()
	if err := b.restart(ctx, k, s, events); err != nil {
		return err
	}
	return b.wipe(ctx)
}

// oneChange moves one endpoint of one Service, from event to last acknowledgement.
func (b *bench) oneChange(ctx context.Context, l *loop, k *recorder, s size, times int) error {
	f, floor := b.figure("one endpoint changed", s, "ms"), b.floor("one endpoint changed", s, "ms")
	k.take(true)
	for i := range times {
		e := bareSlice((i*7919)%s.services, s.endpoints, i+1)
		began := time.Now()
		l.Events([]source.Event{e})
		r, err := l.next(ctx)
		if err != nil {
			return err
		}
		f.Samples = append(f.Samples, ms(time.Since(began)))
		f.Counts = countsOf(r.Kernel)
	}
	plans := k.take(false)
	// The floor repeats the last change there and back: what it was, is.
	last := plans[len(plans)-lastOf(plans, f.Counts["messages"]):]
	bare, err := openSockets(ctx)
	if err != nil {
		return err
	}
	defer bare.close()
	for range times {
		if err := floor.replay(ctx, bare, inverse(last)); err != nil {
			return err
		}
		floor.Samples = floor.Samples[:len(floor.Samples)-1]
		if err := floor.replay(ctx, bare, last); err != nil {
			return err
		}
	}
	return nil
}

// audit compares everything with the kernel while nothing is wrong, and then
// once more while changes come in, which wait for it or do not.
func (b *bench) audit(ctx context.Context, l *loop, s size) error {
	f, wait := b.figure("full audit", s, "ms"), b.figure("change during an audit", s, "ms")
	for i := range 3 {
		began := time.Now()
		l.Audit()
		r, err := l.next(ctx)
		for err == nil && !r.Full && !r.Audited {
			r, err = l.next(ctx)
		}
		if err != nil {
			return err
		}
		f.Samples = append(f.Samples, ms(time.Since(began)))
		f.Counts = countsOf(r.Kernel)
		l.Audit()
		for j, full := 0, false; !full; j++ {
			e := bareSlice((i*100+j)%s.services, s.endpoints, 1000+i*100+j)
			began := time.Now()
			l.Events([]source.Event{e})
			for seen := false; !seen; {
				if r, err = l.next(ctx); err != nil {
					return err
				}
				full, seen = full || r.Full || r.Audited, seen || r.Changes != (proxier.Changes{})
			}
			wait.Samples = append(wait.Samples, ms(time.Since(began)))
		}
	}
	return nil
}

// restart starts a loop over a kernel that is as it should be.
func (b *bench) restart(ctx context.Context, k *recorder, s size, events []source.Event) error {
	f, floor := b.figure("restart", s, "ms"), b.floor("restart", s, "ms")
	l := startLoop(ctx, k, events) // undoes the changes
	_, err := l.next(ctx)
	l.stop()
	for range 3 {
		if err != nil {
			return err
		}
		began := time.Now()
		l := startLoop(ctx, k, events)
		var r *proxier.Round
		if r, err = l.next(ctx); err == nil {
			f.Samples = append(f.Samples, ms(time.Since(began)))
			f.Counts = countsOf(r.Kernel)
			f.Counts["writes"] = float64(r.Writes())
		}
		l.stop()
		took, failed := readAll(ctx)
		err = errors.Join(err, failed)
		floor.Samples = append(floor.Samples, ms(took))
	}
	return err
}

func (b *bench) figure(topic string, s size, unit string) *Figure {
	return b.of(topic, ours, s, unit)
}

func (b *bench) of(topic, subject string, s size, unit string) *Figure {
	f := &Figure{Topic: topic, Subject: subject, Services: s.services, Endpoints: s.endpoints, Unit: unit}
	b.results.Add(f)
	return f
}

func (b *bench) floor(topic string, s size, unit string) *floor {
	return &floor{Figure: b.of(topic, "floor", s, unit)}
}

// wipe removes all that was programmed.
func (b *bench) wipe(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, b.binary, "cleanup").CombinedOutput()
	if err != nil {
		return fmt.Errorf("cleanup: %w: %s", err, out)
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func countsOf(s kernel.Stats) map[string]float64 {
	return map[string]float64{"messages": float64(s.Messages), "sends": float64(s.Sends), "bytes": float64(s.Bytes), "processes": float64(s.Processes)}
}
