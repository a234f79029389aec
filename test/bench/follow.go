package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	gap      = 200 * time.Millisecond // between changes, on average
	atOnce   = 8                      // changes without an observer yet, at most
	turnOver = 10                     // probes that come and go in turn
	churnGap = 50 * time.Millisecond
)

// follower makes changes of probes, and notes how long each took to be seen.
type follower struct {
	*controlRun
	write   func(ctx context.Context, i int, active bool) error
	mu      sync.Mutex
	seen    map[bool][]float64 // ms until a probe was active, or was not
	watched map[bool][]float64 // the same, as the watch saw it
	missing map[bool]int       // changes that were not seen in time
	err     error
}

func (r *controlRun) follower(write func(context.Context, int, bool) error) *follower {
	return &follower{controlRun: r, write: write, seen: map[bool][]float64{}, watched: map[bool][]float64{}, missing: map[bool]int{}}
}

// follow measures the time from writing a change to a client that sees it, and the
// cost of a change; busy: while other Services change, too.
func (r *controlRun) follow(ctx context.Context, busy bool) error {
	before, began := r.proxy.cpu(), time.Now()
	var others churn
	if busy {
		others.begin(ctx, r, churnGap, 4)
		defer others.halt()
	}
	f := r.follower(func(ctx context.Context, i int, active bool) error { return r.lab.setProbe(ctx, i, active) })
	changes := f.changes(ctx, 2*r.limits.changes, gap, r.limits.phase)
	note := ""
	if busy {
		took := time.Since(began)
		others.halt()
		if f.err == nil {
			f.err = others.err
		}
		note = fmt.Sprintf("%.0f endpoints changed elsewhere a second", float64(others.made.Load())/took.Seconds())
		changes += int(others.made.Load())
	}
	if f.err != nil {
		return f.err
	}
	f.report(note, busy)
	r.proxy.rested(ctx, r.limits.rest, r.limits.glances)
	topic := perChange
	if busy {
		topic = perChangeBusy
	}
	cpu := float64((r.proxy.cpu() - before).Milliseconds()) / float64(max(1, changes))
	r.add(&Figure{Topic: topic, Unit: units[topic], Samples: []float64{cpu}, Note: note})
	return nil
}

// changes makes n changes at random moments, unless time runs out, and waits for their
// effect. It returns the number of changes.
func (f *follower) changes(ctx context.Context, n int, gap, limit time.Duration) int {
	began := time.Now()
	waiting, stop := context.WithTimeout(ctx, limit+f.limits.drain)
	defer stop()
	// A change that was not seen leaves a probe in an unknown state.
	many := min(turnOver, f.limits.changes)
	free := make(chan int, many)
	for i := range many {
		free <- f.probes.used + i
	}
	f.probes.used += many
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	made := 0
	for ; made < n && time.Since(began) < limit && ctx.Err() == nil; made++ {
		time.Sleep(time.Duration(f.random.ExpFloat64() * float64(gap)))
		slots <- struct{}{}
		i := <-free
		all.Go(func() {
			f.one(waiting, i)
			free <- i
			<-slots
		})
	}
	all.Wait()
	return made
}

// one changes a probe and waits until a client has seen it.
func (f *follower) one(ctx context.Context, i int) {
	active := !f.probes.active[i]
	f.probes.active[i] = active
	began := time.Now()
	f.probes.expect(i, active, func() { f.note(f.watched, active, time.Since(began)) })
	if err := f.write(ctx, i, active); ctx.Err() != nil {
		f.mu.Lock()
		f.missing[active]++
		f.mu.Unlock()
		return
	} else if err != nil {
		f.mu.Lock()
		f.err = fmt.Errorf("change %s: %w", probeName(i), err)
		f.mu.Unlock()
		return
	}
	for (knock(f.lab.C1, probeAddr(i), 50*time.Millisecond) == answered) != active {
		select {
		case <-ctx.Done():
			f.mu.Lock()
			f.missing[active]++
			f.mu.Unlock()
			return
		// As precise as a twentieth of the measured time.
		case <-time.After(max(2*time.Millisecond, time.Since(began)/20)):
		}
	}
	f.note(f.seen, active, time.Since(began))
}

func (f *follower) note(in map[bool][]float64, active bool, took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in[active] = append(in[active], float64(took.Microseconds())/1000)
}

// report notes the figures. Those of the watch are from when kube-ipvs ran.
func (f *follower) report(note string, busy bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	topics := map[bool]string{true: activate, false: deactivate}
	if busy {
		topics = map[bool]string{true: activateBusy, false: deactivateBusy}
	}
	for _, active := range []bool{true, false} {
		topic, seen := topics[active], f.seen[active]
		bare := &Figure{Topic: topic, Subject: "bare watch", Unit: units[topic], Samples: f.watched[active], Note: note}
		if f.proxy.name == ours {
			f.add(bare)
		}
		of := &Figure{Topic: topic, Unit: units[topic], Samples: seen, Note: note}
		if len(bare.Samples) > 0 {
			of.Counts = map[string]float64{"p50 of the watch meanwhile": bare.Median()}
		}
		switch {
		case f.missing[active] > 0:
			of.Note = join(note, fmt.Sprintf("%d of %d changes: the others were not seen within %s", len(seen), len(seen)+f.missing[active], f.limits.phase+f.limits.drain))
		case len(seen) < f.limits.changes*3/4:
			of.Note = join(note, fmt.Sprintf("%d of %d changes within %s", len(seen), f.limits.changes, f.limits.phase))
		}
		f.add(of)
	}
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// churn is endpoints that come and go in the seeded Services. They are written
// straight into etcd, which leaves the CPU to the clients of the API server.
type churn struct {
	stop func()
	all  sync.WaitGroup
	made atomic.Int64
	once sync.Once
	err  error // of the first that failed
}

// begin has some clients replace an endpoint of some Service, one each gap.
func (c *churn) begin(ctx context.Context, r *controlRun, gap time.Duration, clients int) {
	ctx, c.stop = context.WithCancel(ctx)
	began := time.Now()
	var turns atomic.Int64
	for range clients {
		c.all.Go(func() {
			for ctx.Err() == nil {
				select {
				case <-ctx.Done():
					return
				// Not in step with the ticks by which the kernel counts the CPU's time.
				case <-time.After(time.Until(began.Add(time.Duration(turns.Add(1))*gap + rand.N(gap)))):
				}
				// Each comes once before any comes again, with one address that is new.
				n := int(r.lab.rewritten.Add(1))
				i := n * 37 % r.services
				addrs := pooled(i, 1+n/r.services, controlEndpoints)
				if err := r.lab.control.Rewrite(ctx, r.lab.slice(seededName(i), addrs...)); err != nil && ctx.Err() == nil {
					c.once.Do(func() { c.err = err })
					return
				}
				c.made.Add(1)
			}
		})
	}
}

func (c *churn) halt() { c.stop(); c.all.Wait() }
