// Package checks reads the kernel beside the loop and tells whether the kernel holds
// what the loop takes it to hold. It never writes and keeps nothing of what it reads.
//
// There are two readings. An audit reads everything. A look reads what is cheap to
// read: virtual servers, rules, and how many entries there are; it sees one virtual
// server that is not as it should be, and one entry that is gone or too much. Real
// servers, settings, and entries that changed places only an audit sees.
//
// Each comes on a timer, and sooner where the kernel hints at a change: of links,
// addresses and routes it tells which, of rules that there was one, of virtual servers
// and sets nothing. A look or a hint never has anything written: it has an audit begin.
package checks

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
)

const (
	// deadline is after how long a reading that has not come back is given up.
	deadline = 2 * time.Minute
	// mostReaders bounds the readings that were given up and are still stuck, with
	// the one under way.
	mostReaders = 3
	// auditShare: an audit that comes by itself begins after that many times
	// what the last one cost: a thousandth of a CPU at the most.
	auditShare = 1000
)

// Checks are the readings beside the loop. Only one goroutine may use them.
type Checks struct {
	kernel  kernel.Kernel
	log     *slog.Logger
	deliver func(*Reading)

	readers  sync.WaitGroup // what reads
	open     int            // readings that have not come back, those that were given up among them
	underway *Reading       // the one whose outcome counts; nil: none
	late     bool           // one was given up since an audit came back

	asked       bool // an audit is to begin at once
	audit, look timing
	cost        time.Duration // of CPU, that the last audit took
}

// Belief is what the loop takes the kernel to hold.
type Belief struct {
	Digest  *state.Digest // of all objects
	Entries int           // in our sets
	Written uint64        // entries that the loop has written, ever
}

// Verdict is what readings that have come back tell.
type Verdict struct {
	Agrees  bool // an audit found what the loop believes
	Differs bool // an audit found something else: the loop must read the kernel itself
	GivenUp bool // a reading does not come back
	Stats   kernel.Stats
	Err     error // an audit could not read
}

// New returns Checks of a kernel. Each reading that comes back is handed to deliver, by
// another goroutine; the loop is to hand it to Judge.
func New(k kernel.Kernel, log *slog.Logger, deliver func(*Reading)) *Checks {
	return &Checks{kernel: k, log: log, deliver: deliver}
}

// Ask has an audit begin as soon as a reading may.
func (c *Checks) Ask() { c.asked = true }

// RulesChanged says that rules of ours have changed; the loop itself may have done it.
func (c *Checks) RulesChanged() {
	if c.look.hinted.IsZero() {
		c.look.hint("", ruleSettleTime, ruleSettleTime, ruleCalmTime)
	}
}

// Suspect says that the kernel has told of a change to what should be there.
func (c *Checks) Suspect() { c.suspect("the kernel has told of a change", settleTime) }

func (c *Checks) suspect(because string, settle time.Duration) {
	c.audit.hint(because, settle, settleMost, calmTime)
}

// Trust says that the loop has read the kernel itself: the outcome of the reading under
// way is of no interest any more, nor is what there was to suspect.
func (c *Checks) Trust() {
	c.dismiss()
	c.forget()
}

// forget forgets why there should be a reading now.
func (c *Checks) forget() {
	c.asked = false
	c.audit.forget()
	c.look.forget()
}

func (c *Checks) dismiss() {
	if c.underway != nil {
		c.underway.end()
		c.underway = nil
	}
}

// Begin begins the reading that is due, with what the loop believes now.
func (c *Checks) Begin(ctx context.Context, b Belief) {
	whole := func(because string) {
		c.log.Debug("an audit begins", "because", because)
		c.forget()
		c.read(ctx, &Reading{}, b)
	}
	switch {
	case !c.mayRead():
	case c.asked:
		whole("it was asked for")
	case due(c.audit.hinted):
		whole(c.audit.because)
	case due(c.audit.at):
		whole("it is due")
	case due(c.look.at) || due(c.look.hinted):
		c.look.forget()
		c.look.last = time.Now()
		c.read(ctx, &Reading{look: true, believed: b}, b)
	}
}

func (c *Checks) mayRead() bool { return c.underway == nil && c.open < mostReaders }

// read has a goroutine read the kernel, which takes as long as the cluster is
// large, so that no change waits for it. The loop stays the only writer.
func (c *Checks) read(ctx context.Context, r *Reading, b Belief) {
	r.began = time.Now()
	ctx, r.end = context.WithCancel(ctx)
	c.underway, c.look.at = r, time.Time{}
	if !r.look {
		c.audit.at = time.Time{}
	}
	b.Digest.Watch()
	c.open++
	reader, err := c.kernel.Reader(ctx)
	c.readers.Go(func() {
		r.run(ctx, reader, err)
		c.deliver(r)
	})
}

// Judge takes in what has come back, and gives up what does not come back.
func (c *Checks) Judge(back []*Reading, b Belief) (v Verdict) {
	for _, r := range back {
		c.open--
		v.Stats = v.Stats.Plus(r.stats)
		if r == c.underway { // else the loop itself has read the kernel since, or it was given up
			c.underway = nil
			c.compare(r, b, &v)
		}
	}
	if r := c.underway; r != nil && time.Since(r.began) >= deadline {
		c.dismiss()
		c.asked, v.GivenUp = true, true
		if !c.late {
			c.log.Error("an audit hangs: kube-ipvs gives it up and starts another", "after", deadline)
		}
		c.late = true
	}
	return v
}

// compare compares what was read with what the loop believes. If they differ after an
// audit, the loop is to find out in what and to repair it; after a look there is an audit.
func (c *Checks) compare(r *Reading, b Belief, v *Verdict) {
	switch {
	case r.look:
		c.look.spend(r.cost)
		if r.err != nil || r.misses(b) { // an audit tells of an error
			c.log.Info("a look found a change in the kernel: an audit follows")
			c.suspect("a look has seen a change", 0)
		}
		return
	case r.err != nil:
		v.Err = fmt.Errorf("read what is programmed: %w", r.err)
		return
	}
	if c.late {
		c.log.Info("audits finish again")
		c.late = false
	}
	c.cost = r.cost
	v.Differs = b.Digest.Differs(&r.digest)
	v.Agrees = !v.Differs
	if v.Differs {
		r.cost *= repairShare
	}
	c.audit.spend(r.cost)
}

// Schedule sets when readings come by themselves: an audit each auditPeriod at most, and
// each lookPeriod where it costs little; a look each lookPeriod, or never if that is 0.
// compared says that everything was compared a moment ago.
func (c *Checks) Schedule(compared bool, auditPeriod, lookPeriod time.Duration) {
	if c.underway != nil {
		return
	}
	now := time.Now()
	if lookPeriod > 0 {
		auditPeriod = min(auditPeriod, max(lookPeriod, auditShare*c.cost))
		if compared || c.look.at.IsZero() {
			c.look.at = now.Add(lookPeriod)
		}
	}
	if compared || c.audit.at.IsZero() {
		c.audit.at = now.Add(auditPeriod)
	}
}

// Next returns when Judge or Begin has something to do, unless a reading comes back
// before; zero: then alone.
func (c *Checks) Next() time.Time {
	switch {
	case c.underway != nil:
		return c.underway.began.Add(deadline)
	case !c.mayRead():
		return time.Time{}
	}
	var first time.Time
	for _, at := range [...]time.Time{c.audit.at, c.audit.hinted, c.look.at, c.look.hinted} {
		if !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// Wait returns when nothing reads any more, which may be never.
func (c *Checks) Wait() { c.readers.Wait() }
