package proxier

import (
	"context"
	"sync"
	"time"

	"kube-ipvs/proxier/pace"
)

const (
	// endGrace is how long the current round may go on when Run has to end: less than the
	// 30 seconds that Kubernetes gives a pod.
	endGrace = 5 * time.Second
	// partingTime is how long Run waits for the sweeper and the checks to end.
	partingTime = 2 * time.Second
)

// Run programs the kernel until ctx ends, and then leaves all objects in place. It finishes
// the current round, but takes no longer than endGrace for it.
func (p *Proxier) Run(ctx context.Context) {
	// A round should not end in the middle: its last writes publish the objects of its
	// first ones. But a process that hangs must not keep Run from ending.
	whole, cut := context.WithCancel(context.WithoutCancel(ctx))
	var sweeps sync.WaitGroup
	defer p.part(&sweeps)
	defer cut()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(endGrace, cut) })
	defer stop()
	sweeps.Go(func() { p.sweeper.Run(ctx) })
	sweeps.Go(func() { p.ejects.Run(ctx) })
	for ctx.Err() == nil {
		p.beat()
		p.round(whole)
		p.step.Store(nil)
		pace.Pause(ctx, p.config.MinSyncPeriod)
		p.wait(ctx)
	}
}

// part waits for the sweeper and the checks, but not for one that hangs.
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

// wait returns when the loop has work, or ctx ends.
func (p *Proxier) wait(ctx context.Context) {
	var due <-chan time.Time
	if at := pace.Earliest(p.checks.Next(), p.ledger.Next(), p.cluster.Next()); !at.IsZero() {
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
