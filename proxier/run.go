package proxier

import (
	"context"
	"sync"
	"time"
)

const (
	// endGrace is how long the round under way may go on when Run is to end: less than
	// the 30 seconds that Kubernetes gives a pod to end.
	endGrace = 5 * time.Second
	// partingTime is how long Run waits for what goes on beside it and was told to end.
	partingTime = 2 * time.Second
)

// Run programs the kernel until ctx ends, and then leaves it as it is. The round
// under way is finished, but not for longer than endGrace.
func (p *Proxier) Run(ctx context.Context) {
	// A round must not be cut in the middle: its last writes publish what its
	// first ones made. But a process that hangs must not keep Run from ending.
	whole, cut := context.WithCancel(context.WithoutCancel(ctx))
	var sweeps sync.WaitGroup
	defer p.part(&sweeps)
	defer cut()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(endGrace, cut) })
	defer stop()
	sweeps.Go(func() { p.sweeper.Run(ctx) })
	for ctx.Err() == nil {
		p.pulse.beat()
		p.round(whole)
		p.pulse.rest()
		pause(ctx, p.config.MinSyncPeriod)
		p.wait(ctx)
	}
}

// part waits for what goes on beside Run, and not for what is stuck.
func (p *Proxier) part(sweeps *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		sweeps.Wait()
		p.checks.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(partingTime):
		p.config.Log.Warn("stopped during a read of the kernel")
	}
}

// wait returns when there is something to do.
func (p *Proxier) wait(ctx context.Context) {
	var due <-chan time.Time
	if at := p.nextDue(); !at.IsZero() {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-p.inbox.poke:
	case <-due:
	}
}

// pause returns after a while, or when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// nextDue returns when the loop is to wake by itself; zero: never.
func (p *Proxier) nextDue() time.Time {
	var first time.Time
	for _, at := range [...]time.Time{p.checks.Next(), p.ledger.Next(), p.cluster.Next()} {
		if !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}
