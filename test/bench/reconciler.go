package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier"
	"kube-ipvs/proxier/cluster"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// reconciler measures the loop alone, against the real kernel and without an
// API, beside programs that send the same messages in the same batches.
func reconciler(ctx context.Context, b *bench) error {
	sizes, repeat := []size{{100, 10}, {1000, 10}, {10_000, 10}, {44_000, 1}, {5_000, 50}}, 5
	if b.small {
		sizes, repeat = []size{{100, 10}, {500, 10}}, 2
	}
	for _, s := range sizes {
		began := time.Now()
		for range repeat {
			if err := errors.Join(b.alone(ctx, "cold", s), b.alone(ctx, "cold by routes", s), b.alone(ctx, "floor", s)); err != nil {
				return err
			}
		}
		if err := b.alone(ctx, "standing", s); err != nil {
			return err
		}
		b.say("reconciler, %d × %d: %s", s.services, s.endpoints, time.Since(began).Round(time.Second))
	}
	return nil
}

// steps are the measurements that need a node of their own: the kernel keeps real
// servers that were deleted for some minutes, and looks for each new one among them.
var steps = map[string]func(context.Context, *bench, size) error{"cold": coldAndGone, "cold by routes": coldByRoutes, "floor": coldAndGoneFloor, "standing": standing,
	"flows, IPv4": flows4, "flows, IPv6": flows6}

// alone runs a step in a process with a network namespace of its own, and adds its
// measurements.
func (b *bench) alone(ctx context.Context, step string, s size) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "--size="+b.scale(), "--step="+step, fmt.Sprintf("--services=%d", s.services), fmt.Sprintf("--endpoints=%d", s.endpoints))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s of %d Services with %d endpoints: %w", step, s.services, s.endpoints, err)
	}
	measured := &Results{}
	if err := json.Unmarshal(out, measured); err != nil {
		return err
	}
	b.results.fold(measured)
	return nil
}

func (b *bench) scale() string {
	if b.small {
		return "small"
	}
	return "full"
}

// step measures in this process, and writes the measurements to the output.
func (b *bench) step(ctx context.Context, name string, s size) error {
	err := shell(ctx, `ip link set lo up; ip link add bench0 type dummy
ip link set bench0 up; ip addr add 192.0.2.10/24 dev bench0; ip route add default via 192.0.2.1`)
	if take := steps[name]; take == nil {
		return fmt.Errorf("there is no step %q", name)
	} else if err == nil {
		err = take(ctx, b, s)
	}
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(b.results))
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
	rounds chan *report.Round
	stop   func()
}

// loopConfig is the daemon's default.
func loopConfig() proxier.Config {
	return proxier.Config{
		Config: cluster.Config{Desired: desired.Config{
			Mode: desired.Image, Scheduler: "rr", IPv6: true, Images: desired.DefaultImages, MasqueradeBit: 14, NodeName: "bench",
		}},
		AuditPeriod: time.Hour, DrainTimeout: 0, Log: slog.New(slog.DiscardHandler),
	}
}

// startLoop starts a loop that knows of events, and reports its sweeps to those that
// ask.
func startLoop(ctx context.Context, k kernel.Kernel, events []source.Event, swept ...func(*report.Sweep)) *loop {
	return startLoopOf(ctx, loopConfig(), k, events, swept...)
}

func startLoopOf(ctx context.Context, c proxier.Config, k kernel.Kernel, events []source.Event, swept ...func(*report.Sweep)) *loop {
	l := &loop{rounds: make(chan *report.Round, 1024)}
	c.Observe = func(r *report.Round) { l.rounds <- r }
	for _, f := range swept {
		c.ObserveSweep = f
	}
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
func (l *loop) next(ctx context.Context) (*report.Round, error) {
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
			case r.Full || r.Audited || r.Changes != (report.Changes{}):
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
	dry   bool // they are not carried out
}

func (r *recorder) Apply(ctx context.Context, plan state.Plan) []error {
	if r.on {
		r.plans = append(r.plans, slices.Clone(plan))
	}
	if r.dry {
		return nil
	}
	return r.Linux.Apply(ctx, plan)
}

// take returns the records since the last call, and goes on or not.
func (r *recorder) take(on bool) []state.Plan {
	plans := r.plans
	r.plans, r.on = nil, on
	return plans
}

// kernelOptions are the daemon's defaults.
func kernelOptions() kernel.Options {
	return kernel.Options{IPv6: netutil.HasIPv6()}
}

func openRecorder(ctx context.Context) (*recorder, error) {
	k, err := kernel.OpenLinux(ctx, kernelOptions())
	return &recorder{Linux: k}, err
}

// coldAndGone programs everything on an empty node, and deletes it. It is rehearsed
// without the kernel, as the floor is: a page of memory that a process never had
// costs more in the lab than two system calls.
func coldAndGone(ctx context.Context, b *bench, s size) error {
	return b.coldAndGone(ctx, ours, loopConfig(), s)
}

// coldByRoutes does so where ClusterIPs are no addresses of kube-ipvs0.
func coldByRoutes(ctx context.Context, b *bench, s size) error {
	c := loopConfig()
	c.Desired.NoDevice = true
	return b.coldAndGone(ctx, ours+" route", c, s)
}

func (b *bench) coldAndGone(ctx context.Context, subject string, c proxier.Config, s size) error {
	k, err := openRecorder(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	events := eventsOf(s)
	if _, err := k.rehearse(ctx, c, events); err != nil {
		return err
	}
	return comeAndGo(ctx, c, k, events, func(topic string, r *report.Round, took time.Duration) {
		f := b.of(topic, subject, s, "ms")
		f.Samples, f.Counts = []float64{ms(took)}, countsOf(r.Kernel)
	})
}

// coldAndGoneFloor sends the messages of a loop.
func coldAndGoneFloor(ctx context.Context, b *bench, s size) error {
	k, err := openRecorder(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	plans, err := k.rehearse(ctx, loopConfig(), eventsOf(s))
	if err != nil {
		return err
	}
	bare, err := openSockets(ctx)
	if err != nil {
		return err
	}
	defer bare.close()
	return errors.Join(b.floor(cold, s).replay(ctx, bare, plans[cold]), b.floor(gone, s).replay(ctx, bare, plans[gone]))
}

// rehearse runs a loop that writes nothing, and returns its plans by topic.
func (r *recorder) rehearse(ctx context.Context, c proxier.Config, events []source.Event) (map[string][]state.Plan, error) {
	plans := map[string][]state.Plan{}
	r.dry, r.on = true, true
	err := comeAndGo(ctx, c, r, events, func(topic string, _ *report.Round, _ time.Duration) { plans[topic] = r.take(true) })
	r.dry, r.on = false, false
	runtime.GC()
	return plans, err
}

// comeAndGo has a loop program everything, and then delete it.
func comeAndGo(ctx context.Context, c proxier.Config, k kernel.Kernel, events []source.Event, done func(topic string, r *report.Round, took time.Duration)) error {
	gones := deleted(events)
	began := time.Now()
	l := startLoopOf(ctx, c, k, events)
	defer l.stop()
	for _, topic := range []string{cold, gone} {
		r, err := l.next(ctx)
		if err != nil {
			return err
		}
		done(topic, r, time.Since(began))
		if topic == cold {
			began = time.Now()
			l.Events(gones)
		}
	}
	return nil
}

// standing measures single changes, audits and a restart of a loop that has programmed
// everything.
func standing(ctx context.Context, b *bench, s size) error {
	k, err := openRecorder(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	l := startLoop(ctx, k, eventsOf(s)) // no variable holds them any more, as in a source
	defer l.stop()
	if _, err := l.next(ctx); err != nil {
		return err
	}
	changes := 500
	if b.small {
		changes = 100
	}
	if err := b.oneChange(ctx, l, k, s, changes); err != nil {
		return err
	}
	if err := b.audit(ctx, l, s); err != nil {
		return err
	}
	if err := b.greedy(ctx, l, s); err != nil {
		return err
	}
	l.stop()
	return b.restart(ctx, k, s)
}

// Topics of the reconciler.
const (
	cold  = "cold start of the loop"
	gone  = "delete all"
	again = "restart of the loop"
)

// oneChange moves one endpoint of one Service, from event to last acknowledgement.
func (b *bench) oneChange(ctx context.Context, l *loop, k *recorder, s size, times int) error {
	f, floor := b.figure("one endpoint changed", s, "ms"), b.floor("one endpoint changed", s)
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
	// The floor repeats the last change there and back: it writes the old value again.
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
	f, floor, wait := b.figure("full audit", s, "ms"), b.floor("full audit", s), b.figure("change during an audit", s, "ms")
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
		took, err := readAll(ctx)
		if err != nil {
			return err
		}
		floor.Samples = append(floor.Samples, ms(took))
		l.Audit()
		for j, full := 0, false; !full; j++ {
			e := bareSlice((i*100+j)%s.services, s.endpoints, 1000+i*100+j)
			began := time.Now()
			l.Events([]source.Event{e})
			for seen := false; !seen; {
				if r, err = l.next(ctx); err != nil {
					return err
				}
				full, seen = full || r.Full || r.Audited, seen || r.Changes != (report.Changes{})
			}
			wait.Samples = append(wait.Samples, ms(time.Since(began)))
		}
	}
	return nil
}

// restart starts a loop over a kernel that is as it should be.
func (b *bench) restart(ctx context.Context, k *recorder, s size) error {
	events := eventsOf(s)
	f, floor := b.figure(again, s, "ms"), b.floor(again, s)
	l := startLoop(ctx, k, events) // undoes the changes
	_, err := l.next(ctx)
	l.stop()
	for range 3 {
		if err != nil {
			return err
		}
		began := time.Now()
		l := startLoop(ctx, k, events)
		var r *report.Round
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

func (b *bench) floor(topic string, s size) *floor {
	return &floor{Figure: b.of(topic, "floor", s, "ms")}
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func countsOf(s kernel.Stats) map[string]float64 {
	return map[string]float64{"messages": float64(s.Messages), "sends": float64(s.Sends), "bytes": float64(s.Bytes), "processes": float64(s.Processes)}
}
