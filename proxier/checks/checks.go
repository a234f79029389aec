// Package checks reads the kernel beside the loop, and compares the result with the loop's
// ledger. It never writes, and keeps no object that it reads.
//
// There are two readings. An audit reads everything. A look reads what is cheap: virtual
// servers, rules, and the number of entries. So a look finds a changed virtual server, and a
// missing or extra entry. Only an audit finds changed real servers and settings, and an entry
// that another one has replaced.
//
// Both come on a timer, and sooner after a hint of the kernel. The kernel names changed links,
// addresses and routes, says that rules have changed, and says nothing of virtual servers and
// sets. A look or a hint only starts an audit; it never causes a write.
package checks

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/pace"
	"kube-ipvs/proxier/state"
)

const (
	// deadline is how long a reading may take before it is given up.
	deadline = 2 * time.Minute
	// mostReaders bounds the current reading and those that were given up and still hang.
	mostReaders = 3
	// auditShare times the CPU time of an audit pass before the next one on the timer, so that
	// audits take at most a thousandth of a CPU.
	auditShare = 1000
)

// Checks are the readings beside the loop. Only one goroutine may use them.
type Checks struct {
	kernel  kernel.Kernel
	log     *slog.Logger
	deliver func(*Reading)

	readers  sync.WaitGroup // goroutines that read
	open     int            // readings that have not ended, also those that were given up
	underway *Reading       // the reading whose outcome counts; nil: none
	late     bool           // a reading was given up since the last audit ended

	asked       bool // an audit has to begin at once
	audit, look timing
	cost        time.Duration // CPU time of the last audit
}

// Belief is the state of the kernel according to the ledger.
type Belief struct {
	Digest  *state.Digest // of all objects
	Entries int           // in the sets of kube-ipvs
	Written uint64        // entries that the loop has ever written
}

// Verdict is the result of the readings that have ended.
type Verdict struct {
	Agrees  bool        // an audit agrees with the Belief
	Differs bool        // an audit differs: the loop must read the kernel itself
	Fills   state.Fills // that an audit has read
	GivenUp bool        // a reading hangs
	Stats   kernel.Stats
	Err     error // the read error of an audit
}

// New returns Checks of a kernel. Another goroutine calls deliver with each reading that has
// ended, and the loop must hand it to Judge.
func New(k kernel.Kernel, log *slog.Logger, deliver func(*Reading)) *Checks {
	return &Checks{kernel: k, log: log, deliver: deliver}
}

// Ask requests an audit as soon as possible.
func (c *Checks) Ask() { c.asked = true }

// RulesChanged requests a look soon, since rules have changed; the loop itself may have done it.
func (c *Checks) RulesChanged() {
	if c.look.hinted.IsZero() {
		c.look.hint("", ruleSettleTime, ruleSettleTime, ruleCalmTime)
	}
}

// Suspect requests an audit soon, since the kernel has reported a change to a known object.
func (c *Checks) Suspect() { c.suspect("the kernel has told of a change", settleTime) }

func (c *Checks) suspect(because string, settle time.Duration) {
	c.audit.hint(because, settle, settleMost, calmTime)
}

// Trust says that the loop has read the kernel itself. It drops the current reading and all
// requests.
func (c *Checks) Trust() {
	c.dismiss()
	c.forget()
}

// forget drops the requests for readings.
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

// Begin starts the reading that is due, if any, to compare it with b.
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
	case pace.Due(c.audit.hinted):
		whole(c.audit.because)
	case pace.Due(c.audit.at):
		whole("it is due")
	case pace.Due(c.look.at) || pace.Due(c.look.hinted):
		c.look.forget()
		c.look.last = time.Now()
		c.read(ctx, &Reading{look: true, believed: b}, b)
	}
}

func (c *Checks) mayRead() bool { return c.underway == nil && c.open < mostReaders }

// read starts a goroutine that reads the kernel, so that no change waits for it: a reading
// takes the longer, the larger the cluster is.
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

// Judge compares the readings that have ended with b, and gives up one that hangs.
func (c *Checks) Judge(back []*Reading, b Belief) (v Verdict) {
	for _, r := range back {
		c.open--
		v.Stats = v.Stats.Plus(r.stats)
		if r == c.underway { // otherwise the loop itself has read the kernel since, or gave it up
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

// compare compares a reading with b. If an audit differs, the loop has to find the
// difference and repair it; if a look differs, an audit follows.
func (c *Checks) compare(r *Reading, b Belief, v *Verdict) {
	switch {
	case r.look:
		c.look.spend(r.cost)
		if r.err != nil || r.misses(b) { // the audit will report an error
			c.log.Info("a look found a change in the kernel: an audit follows")
			c.suspect("a look has seen a change", 0)
		}
		return
	case r.err != nil:
		v.Err = fmt.Errorf("read the programmed objects: %w", r.err)
		return
	}
	if c.late {
		c.log.Info("audits finish again")
		c.late = false
	}
	c.cost = r.cost
	v.Differs = b.Digest.Differs(&r.digest)
	v.Agrees, v.Fills = !v.Differs, r.fills
	if v.Differs {
		r.cost *= repairShare
	}
	c.audit.spend(r.cost)
}

// Schedule sets the timers of readings. An audit comes each auditPeriod, or sooner if audits
// are cheap, but not before lookPeriod. A look comes each lookPeriod, or never if that is 0.
// compared says that the loop or an audit has just compared everything.
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

// Next returns when the loop has to call Judge or Begin, if no reading ends before; zero:
// never.
func (c *Checks) Next() time.Time {
	switch {
	case c.underway != nil:
		return c.underway.began.Add(deadline)
	case !c.mayRead():
		return time.Time{}
	}
	return pace.Earliest(c.audit.at, c.audit.hinted, c.look.at, c.look.hinted)
}

// Wait returns when all readings have ended. It never returns if one hangs.
func (c *Checks) Wait() { c.readers.Wait() }
