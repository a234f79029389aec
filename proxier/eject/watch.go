package eject

import (
	"context"
	"net/netip"
	"runtime"
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
		watched := w.watched()
		if len(watched) == 0 {
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
			if cost, err = costOf(func() error { return read(ctx, k, watched) }); err == nil {
				for _, key := range w.judge(ctx, began, watched) {
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

// watched returns the endpoints of all Services by their address.
func (w *Watch) watched() map[netip.AddrPort][]*endpoint {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out map[netip.AddrPort][]*endpoint
	for _, of := range w.services {
		if out == nil {
			out = make(map[netip.AddrPort][]*endpoint, len(of.endpoints))
		}
		for at, e := range of.endpoints {
			out[at] = append(out[at], e)
		}
	}
	return out
}

// read notes the connections that wait for an answer of the watched endpoints.
func read(ctx context.Context, k kernel.Flows, watched map[netip.AddrPort][]*endpoint) error {
	ctx, cancel := context.WithTimeout(ctx, readingTime)
	defer cancel()
	now := time.Now()
	var has [2]bool
	for at := range watched {
		has[state.FamilyOf(at.Addr())] = true
	}
	for _, family := range state.Families(true) {
		if !has[family] {
			continue
		}
		err := k.Unanswered(ctx, family, func(at netip.AddrPort, number uint32) {
			for _, e := range watched[at] {
				e.note(number, now)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// judge ends a reading, and has suspect endpoints probed. It returns the Services that have had no
// suspect endpoint for a while, so that none is spared any more.
func (w *Watch) judge(ctx context.Context, now time.Time, watched map[netip.AddrPort][]*endpoint) (calm []model.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, all := range watched {
		for _, e := range all {
			e.settle(now)
		}
	}
	for key, of := range w.services {
		suspects := of.suspects(now)
		if len(suspects) == 0 && now.Sub(of.calm) > forgiving && of.spare(nil) {
			calm = append(calm, key)
		}
		if len(suspects) == 0 || now.Before(of.calm) {
			continue
		}
		suspects = suspects[:min(len(suspects), mostSuspects)]
		for _, at := range suspects {
			of.endpoints[at].probing = true
		}
		controls := of.others(suspects)
		w.running.Go(func() { w.confirm(ctx, key, suspects, controls) })
	}
	return calm
}
