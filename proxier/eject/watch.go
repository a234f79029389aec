package eject

import (
	"context"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/pace"
	"kube-ipvs/proxier/state"
)

const (
	// period is the time between readings of conntrack. share times the CPU time of a reading
	// passes before the next one: it takes the more, the more entries conntrack has.
	period = 500 * time.Millisecond
	share  = 20
	// readingTime bounds a reading.
	readingTime = 10 * time.Second
)

// Run watches until ctx ends. While no Service has eject-after, it waits and reads nothing.
func (w *Watch) Run(ctx context.Context) {
	var k kernel.Flows
	defer func() {
		w.running.Wait()
		if k != nil {
			_ = k.Close()
		}
	}()
	var failing error
	for ctx.Err() == nil {
		if !slices.ContainsFunc(state.Families(true), w.watches) {
			select {
			case <-ctx.Done():
			case <-w.poke:
			}
			continue
		}
		began := time.Now()
		var err error
		var cost time.Duration
		if k == nil {
			k, err = w.config.Flows(ctx)
		}
		if err == nil {
			if cost, err = costOf(func() error { return w.read(ctx, k) }); err == nil {
				for _, key := range w.judge(ctx, began) {
					w.config.Changed(key)
				}
			}
		}
		if ctx.Err() == nil {
			w.tell(failing, err)
			failing = err
		}
		w.probeOthers(ctx)
		pace.Pause(ctx, max(period-time.Since(began), share*cost))
	}
}

// costOf returns the CPU time of a function, which does not grow with the load of the node.
func costOf(f func() error) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := cpuTime()
	err := f()
	return cpuTime() - before, err
}

// cpuTime returns the CPU time of this thread.
func cpuTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_THREAD, &u) // cannot fail for this thread
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// tell logs whether readings succeed, when this changes.
func (w *Watch) tell(was, now error) {
	switch {
	case now != nil && was == nil:
		w.config.Log.Warn("conntrack cannot be read: no dead endpoint is found", "err", now)
	case now == nil && was != nil:
		w.config.Log.Info("conntrack can be read again: dead endpoints are found", "was", was)
	}
}

// watches reports whether there are endpoints of a family.
func (w *Watch) watches(family state.Family) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.at[family]) > 0
}

// read notes the connections that wait for an answer of the watched endpoints.
func (w *Watch) read(ctx context.Context, k kernel.Flows) error {
	ctx, cancel := context.WithTimeout(ctx, readingTime)
	defer cancel()
	now := time.Now()
	for _, family := range state.Families(true) {
		if !w.watches(family) {
			continue
		}
		err := k.Unanswered(ctx, family, func(at netip.AddrPort, number uint32) { w.note(family, at, number, now) })
		if err != nil {
			return err
		}
	}
	return nil
}

// note notes a connection without an answer that a reading sees.
func (w *Watch) note(family state.Family, at netip.AddrPort, number uint32, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.at[family][at] {
		if len(e.waiting) == 0 {
			e.of.waiting[at], w.restless[e.of] = e, true
		}
		e.note(number, now)
	}
}

// judge ends a reading, and has suspect endpoints probed. It returns the Services that have had no
// suspect endpoint for a while, so that none is spared any more. The cost depends on the endpoints
// with connections that wait, and not on all: most nodes have thousands that answer.
func (w *Watch) judge(ctx context.Context, now time.Time) (calm []model.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for of := range w.restless {
		of.settle(now)
		suspects := of.suspects(now)
		if len(suspects) == 0 && now.Sub(of.calm) > forgiving && of.spare(nil) {
			calm = append(calm, of.key)
		}
		if len(of.waiting)+len(of.spared)+len(of.untried) == 0 {
			delete(w.restless, of)
		}
		if len(suspects) == 0 || now.Before(of.calm) {
			continue
		}
		suspects = suspects[:min(len(suspects), mostSuspects)]
		for _, at := range suspects {
			of.endpoints[at].probing = true
		}
		controls := of.others(suspects)
		w.running.Go(func() { w.confirm(ctx, of.key, suspects, controls) })
	}
	return calm
}
