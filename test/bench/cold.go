package main

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"

	kube "kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

const patience = 200 * time.Millisecond // of a client that asks for a Service

// cold starts the proxy on a node where nothing is programmed, and waits until
// it rests. If that takes too long, it returns why nothing else is measured.
func (r *controlRun) cold(ctx context.Context) (why string, err error) {
	forks, err := kube.Forks()
	if err != nil {
		return "", err
	}
	began := time.Now()
	if err := r.proxy.start(r.lab); err != nil {
		return "", err
	}
	within, cancel := context.WithDeadline(ctx, began.Add(r.limits.cold))
	defer cancel()
	var first sync.WaitGroup
	var firstAfter time.Duration
	first.Go(func() { firstAfter = r.critical(within, began) })
	at, missed, ok := r.sweep(within)
	first.Wait()
	f := &Figure{Topic: coldStart, Unit: units[coldStart], Counts: map[string]float64{"missing in the sweep": float64(missed)}}
	if !ok {
		why = fmt.Sprintf("not all Services answered within %s of the start", r.limits.cold)
		f.Note = why + "; " + lastLine(r.proxy)
		r.add(f)
		r.skip(why, coldCPU)
		return "not measured: " + why, nil
	}
	r.answered, f.Samples = true, []float64{at.Sub(began).Seconds()}
	r.add(f)
	r.addCritical(began, firstAfter)
	since, rests := r.proxy.rested(ctx, time.Until(began.Add(r.limits.cold)), r.limits.glances)
	after, err := kube.Forks()
	if err != nil {
		return "", err
	}
	c := &Figure{Topic: coldCPU, Unit: units[coldCPU], Samples: []float64{r.proxy.cpu().Seconds()}, Counts: map[string]float64{
		"processes and threads started": float64(after - forks), "s until it rests": since.Sub(began).Seconds(),
	}}
	if !rests {
		why = fmt.Sprintf("it had not come to rest %s after the start", r.limits.cold)
		c.Note, why = why, "not measured: "+why
	}
	r.add(c)
	return why, nil
}

// sweep waits until all Services answer, and returns when they did, and how many
// were found not to when a sample already did.
func (r *controlRun) sweep(ctx context.Context) (at time.Time, missed int, ok bool) {
	if _, at, ok = r.lab.allAnswer(ctx, r.sample()); !ok {
		return at, 0, false
	}
	all := make([]netip.AddrPort, r.services)
	for i := range all {
		all[i] = seededAddr(i)
	}
	missed, swept, ok := r.lab.allAnswer(ctx, all)
	if missed > 0 {
		at = swept
	}
	return at, missed, ok
}

// allAnswer asks each Service until it answers, in order, and returns how many
// did not at first, and when the last had; false if some did not until the
// context ended.
func (l *lab) allAnswer(ctx context.Context, of []netip.AddrPort) (missed int, at time.Time, ok bool) {
	began := time.Now()
	for _, to := range of {
		for tries := 0; knock(l.C1, to, patience) != answered; tries++ {
			if tries == 0 {
				missed++
			}
			select {
			case <-ctx.Done():
				return missed, time.Now(), false
			// A client that asks more often measures better, and takes the CPU.
			case <-time.After(max(20*time.Millisecond, time.Since(began)/50)):
			}
		}
	}
	return missed, time.Now(), true
}

// critical asks for default/kubernetes and DNS until both answer, and returns
// how long after the start that was; 0: never.
func (r *controlRun) critical(ctx context.Context, began time.Time) time.Duration {
	const patience = 20 * time.Millisecond // as precise as the measured time is short
	asks := []func() outcome{
		func() outcome { return knock(r.lab.C1, kubernetesAddr, patience) },
		func() outcome { return knock(r.lab.C1, dnsAddr, patience) },
		func() outcome { return r.udp(dnsAddr, patience) },
	}
	for _, ask := range asks {
		for ask() != answered {
			select {
			case <-ctx.Done():
				return 0
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return time.Since(began)
}

func (r *controlRun) udp(to netip.AddrPort, patience time.Duration) outcome {
	out := failed
	_ = r.lab.C1.Do(func() error {
		out = askUDP(to, patience)
		return nil
	})
	return out
}

func (r *controlRun) addCritical(began time.Time, after time.Duration) {
	f := &Figure{Topic: critical, Unit: units[critical], Samples: []float64{after.Seconds()}}
	if after == 0 {
		f.Samples, f.Note = nil, "they never answered"
	}
	if synced, ok := firstRound(r.proxy.program.Log(2000), began); ok {
		f.Counts = map[string]float64{"s until all caches were synced": synced.Sub(began).Seconds()}
	}
	r.add(f)
}

var logTime = regexp.MustCompile(`^time=(\S+) .*msg=round .*took=(\S+)`)

// firstRound finds when the first round of a kube-ipvs began that started after
// a time: when it had been told everything.
func firstRound(log string, after time.Time) (time.Time, bool) {
	for line := range strings.Lines(log) {
		m := logTime.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, m[1])
		took, wrong := time.ParseDuration(m[2])
		if err == nil && wrong == nil && at.After(after) {
			return at.Add(-took), true
		}
	}
	return time.Time{}, false
}

func lastLine(p *proxy) string {
	if !p.program.Runs() {
		return "it has ended: " + p.program.Log(1)
	}
	return "it said last: " + p.program.Log(1)
}

// asker asks for Services all the time.
type asker struct {
	stop  context.CancelFunc
	ended chan struct{}
	asked int
	bad   map[outcome]int
}

// ask begins to ask for the Services in turn.
func ask(ctx context.Context, from *testbed.Host, of []netip.AddrPort) *asker {
	ctx, cancel := context.WithCancel(ctx)
	a := &asker{stop: cancel, ended: make(chan struct{}), bad: map[outcome]int{}}
	go func() {
		defer close(a.ended)
		for ctx.Err() == nil {
			// A SYN that is lost is sent again after a second: no patience for that.
			if out := knock(from, of[a.asked%len(of)], 900*time.Millisecond); out != answered {
				a.bad[out]++
			}
			a.asked++
			time.Sleep(5 * time.Millisecond) // leaves the CPU to the proxy
		}
	}()
	return a
}

// halt ends it.
func (a *asker) halt() { a.stop(); <-a.ended }

// again restarts the proxy where nothing has changed.
func (r *controlRun) again(ctx context.Context) error {
	clients := ask(ctx, r.lab.C1, r.sample())
	defer clients.halt()
	if err := r.proxy.end(r.lab); err != nil {
		return err
	}
	began := time.Now()
	if err := r.proxy.start(r.lab); err != nil {
		return err
	}
	since, ok := r.proxy.rested(ctx, r.limits.again, r.limits.glances)
	clients.halt()
	f := &Figure{Topic: restart, Unit: units[restart], Counts: map[string]float64{
		"CPU s": r.proxy.cpu().Seconds(), "asked": float64(clients.asked), "refused": float64(clients.bad[refused]), "lost": float64(clients.bad[lost] + clients.bad[failed]),
	}}
	switch {
	case !r.proxy.program.Runs():
		f.Note = lastLine(r.proxy)
	case !ok:
		f.Note = fmt.Sprintf("it still worked after %s", r.limits.again)
	default:
		f.Samples = []float64{since.Sub(began).Seconds()}
	}
	r.add(f)
	return nil
}
