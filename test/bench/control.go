package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	kube "kube-ipvs/test/lib/cluster"
)

const controlEndpoints = 10

// controlLimits bound the time for one proxy at one size.
type controlLimits struct {
	sizes   []int
	follow  []int         // sizes at which changes are followed, and a restart
	cold    time.Duration // to answer for all, and to rest
	changes int           // of each kind
	phase   time.Duration // to make them
	drain   time.Duration // the wait for the last of them
	rest    time.Duration // to have nothing to do any more after changes
	again   time.Duration // the same after a restart
	idle    time.Duration
	flood   time.Duration
	glances int // without work are rest
}

func limitsOf(small bool) controlLimits {
	if small {
		return controlLimits{sizes: []int{200}, follow: []int{200}, cold: 8 * time.Second, changes: 4, phase: 1500 * time.Millisecond, drain: 1500 * time.Millisecond,
			rest: 2 * time.Second, again: 4 * time.Second, idle: time.Second, flood: 5 * time.Second, glances: 2}
	}
	return controlLimits{sizes: []int{100, 1000, 5000, 10000}, follow: []int{100, 1000, 5000, 10000}, cold: 2 * time.Minute, changes: 50, phase: 22 * time.Second, drain: 12 * time.Second,
		rest: 10 * time.Second, again: 40 * time.Second, idle: 31 * time.Second, flood: time.Minute, glances: 6}
}

// most tells whether there are as many Services as there will be.
func (r *controlRun) most() bool { return r.services == slices.Max(r.limits.sizes) }

// controlRun measures one proxy at one size.
type controlRun struct {
	*bench
	lab      *lab
	proxy    *proxy
	services int
	limits   controlLimits
	probes   *probes
	random   *rand.Rand
	answered bool // all Services did
}

// control measures how fast a proxy follows a real API server, and its cost.
func control(ctx context.Context, b *bench) (err error) {
	l, err := newLab(ctx, b, kube.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	limits := limitsOf(b.small)
	hopeless := map[*proxy]string{} // why a proxy is not measured with more Services
	players := b.chosen(append([]*proxy{{name: ours}, {name: ours + " route", routes: true}}, peers()...))
	for i, services := range limits.sizes {
		began := time.Now()
		if err := l.seed(ctx, services, controlEndpoints); err != nil {
			return err
		}
		if i == 0 {
			if err := l.addProbes(ctx); err != nil {
				return err
			}
		}
		b.say("%d Services are there after %s", services, time.Since(began).Round(time.Millisecond))
		for _, p := range players {
			began := time.Now()
			r := &controlRun{bench: b, lab: l, proxy: p, services: services, limits: limits, random: rand.New(rand.NewPCG(1, uint64(services)))}
			if why := hopeless[p]; why != "" {
				r.skip(why, coldStart)
				continue
			}
			if err := r.all(ctx); ctx.Err() != nil {
				return fmt.Errorf("%s with %d Services: %w", p.name, services, err)
			} else if err != nil { // one failure leaves the results of the others
				r.skip("not measured to the end: "+err.Error(), coldStart)
				hopeless[p] = fmt.Sprintf("not measured: it failed with %d Services", services)
			} else if !r.answered {
				hopeless[p] = fmt.Sprintf("not measured: with %d Services it took longer than %s to serve all", services, limits.cold)
			}
			b.say("%s with %d Services took %s", p.name, services, time.Since(began).Round(100*time.Millisecond))
		}
	}
	return nil
}

// all makes all measurements of a proxy that starts, and removes it.
func (r *controlRun) all(ctx context.Context) (err error) {
	if r.probes, err = r.lab.watchProbes(ctx); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, r.proxy.leave(r.lab), r.probes.end(context.WithoutCancel(ctx), r.lab))
	}()
	why, err := r.cold(ctx)
	if err != nil {
		return err
	}
	if err := r.memory(ctx, why == ""); err != nil {
		return err
	}
	if r.proxy.routes || !slices.Contains(r.limits.follow, r.services) {
		return nil
	}
	if err := r.changes(ctx, why); err != nil {
		return err
	}
	if why != "" {
		r.skip(why, restart)
		return nil
	}
	return r.again(ctx)
}

// changes measures how changes are followed, unless there is a reason not to.
func (r *controlRun) changes(ctx context.Context, why string) error {
	if why != "" {
		r.skip(why, activate, deactivate, perChange, activateBusy, deactivateBusy, perChangeBusy)
		return nil
	}
	for _, busy := range []bool{false, true} {
		if busy && r.services == slices.Min(r.limits.sizes) && !r.small {
			continue // changes elsewhere matter where there is much elsewhere
		}
		if err := r.follow(ctx, busy); err != nil {
			return err
		}
	}
	if r.proxy.name != ours || !r.most() {
		return nil
	}
	return r.flooded(ctx)
}

// skip notes why something was not measured.
func (r *controlRun) skip(why string, topics ...string) {
	for _, topic := range topics {
		r.add(&Figure{Topic: topic, Unit: units[topic], Note: why})
	}
}

// add notes a figure of the proxy.
func (r *controlRun) add(f *Figure) {
	if f.Subject == "" {
		f.Subject = r.proxy.name
	}
	f.Services, f.Endpoints = r.services, controlEndpoints
	r.results.Add(f)
	r.bench.say("  %s", f.line())
}

// line is a figure for the log of the run.
func (f *Figure) line() string {
	text := fmt.Sprintf("%s, %s, %d × %d: p50 %s p90 %s p99 %s %s (%d)", f.Topic, f.Subject, f.Services, f.Endpoints,
		number(f.Median()), number(f.Quantile(0.9)), number(f.Quantile(0.99)), f.Unit, len(f.Samples))
	for name, n := range f.Counts {
		text += fmt.Sprintf(", %s %s", name, number(n))
	}
	if f.Note != "" {
		text += ": " + f.Note
	}
	return text
}

// Topics of control, and their units.
const (
	coldStart      = "Cold start"
	coldCPU        = "CPU of a cold start"
	critical       = "Critical Services at a cold start"
	memory         = "Resident memory"
	idleCPU        = "Idle CPU"
	activate       = "Activate"
	deactivate     = "Deactivate"
	activateBusy   = "Activate among changes"
	deactivateBusy = "Deactivate among changes"
	perChange      = "CPU per change"
	perChangeBusy  = "CPU per change among changes"
	flood          = "A hundred changes a second"
	restart        = "Restart"
)

var units = map[string]string{
	coldStart: "s until all Services answer", coldCPU: "CPU s until it rests", critical: "s until default/kubernetes and DNS answer",
	memory: "MiB", idleCPU: "% of a CPU", activate: "ms", deactivate: "ms", activateBusy: "ms", deactivateBusy: "ms",
	perChange: "CPU ms", perChangeBusy: "CPU ms", flood: "ms until a change is seen", restart: "s until it rests",
}

// memory notes the memory, and the CPU while nothing happens.
func (r *controlRun) memory(ctx context.Context, rests bool) error {
	if !r.proxy.program.Runs() {
		r.skip(lastLine(r.proxy), memory)
		return nil
	}
	u, err := kube.UsageOf(r.proxy.program.PID())
	if err != nil {
		return err
	}
	mib := func(kib int) float64 { return float64(kib) / 1024 }
	r.add(&Figure{Topic: memory, Unit: units[memory], Samples: []float64{mib(u.Resident)},
		Counts: map[string]float64{"MiB at most": mib(u.Peak), "MiB of no file": mib(u.Own)}})
	if !r.most() || !rests {
		return nil
	}
	before, began := r.proxy.cpu(), time.Now()
	select { // a time in which nothing happens
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(r.limits.idle):
	}
	share := 100 * (r.proxy.cpu() - before).Seconds() / time.Since(began).Seconds()
	r.add(&Figure{Topic: idleCPU, Unit: units[idleCPU], Samples: []float64{share}})
	return nil
}

// sample returns where some Services are reached, by chance, and the last of all.
func (r *controlRun) sample() []netip.AddrPort {
	const many = 64
	var out []netip.AddrPort
	for _, i := range r.random.Perm(r.services)[:min(many, r.services)] {
		out = append(out, seededAddr(i))
	}
	return append(out, seededAddr(r.services-1))
}
