package proxier

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// audit is a reading of the kernel beside the loop. What it reads it does not
// keep: a digest tells whether it is what the loop takes the kernel to hold.
type audit struct {
	look   bool // it reads what is cheap to read, and no more
	began  time.Time
	end    context.CancelFunc
	digest state.Digest
	cost   time.Duration // of CPU
	stats  kernel.Stats
	err    error

	// Of a look.
	entries  int    // in our sets
	believed int    // that the loop took to be there when it began
	written  uint64 // Proxier.written then
}

const (
	// auditDeadline is after how long a reading that has not come back is given up.
	auditDeadline = 2 * time.Minute
	// mostReaders bounds the readings that were given up and are still stuck, with
	// the one under way.
	mostReaders = 3
	// auditShare: an audit that comes by itself begins after that many times
	// what the last one cost: a thousandth of a CPU at the most.
	auditShare = 1000
	// partingTime is how long Run waits for readers that were told to end.
	partingTime = 2 * time.Second
)

// inspect begins the reading that is due.
func (p *Proxier) inspect(ctx context.Context, r *report.Round) {
	if r.Full {
		p.trust()
	}
	whole := func(because string) {
		p.log.Debug("an audit begins", "because", because)
		p.trust()
		p.begin(ctx, &audit{})
	}
	switch {
	case !p.mayRead():
	case p.unsure:
		whole("it was asked for")
	case due(p.suspectAt):
		whole(p.suspicion)
	case due(p.auditAt):
		whole("it is due")
	case due(p.lookAt) || due(p.ruleAt):
		p.ruleAt, p.looks.last = time.Time{}, time.Now()
		p.begin(ctx, &audit{look: true, believed: p.objects[state.Entry], written: p.written})
	}
}

// trust forgets why there should be an audit: it begins, or is not needed.
func (p *Proxier) trust() {
	p.unsure, p.suspectSince, p.suspectAt, p.ruleAt = false, time.Time{}, time.Time{}, time.Time{}
}

// mayRead reports whether a reading can begin.
func (p *Proxier) mayRead() bool { return p.underway == nil && p.reading < mostReaders }

// readAt returns when the next reading is due, or when one is late.
func (p *Proxier) readAt() []time.Time {
	switch {
	case p.underway != nil:
		return []time.Time{p.underway.began.Add(auditDeadline)}
	case !p.mayRead():
		return nil // when one comes back
	}
	return []time.Time{p.auditAt, p.lookAt, p.ruleAt, p.suspectAt}
}

// begin has a goroutine read the kernel, which takes as long as the cluster is
// large, so that no change waits for it. The loop stays the only writer.
func (p *Proxier) begin(ctx context.Context, a *audit) {
	a.began = time.Now()
	ctx, a.end = context.WithCancel(ctx)
	p.underway, p.lookAt = a, time.Time{}
	if !a.look {
		p.auditAt = time.Time{}
	}
	p.digest.Watch()
	p.reading++
	reader, err := p.kernel.Reader(ctx)
	p.readers.Go(func() {
		if a.err = err; err == nil {
			a.err = errors.Join(a.read(ctx, reader), reader.Close())
			a.stats, a.cost = reader.Stats(), reader.Cost()
		}
		a.end()
		p.inbox.put(func(m *mail) { m.audited = append(m.audited, a) })
	})
}

// read sums up what there is.
func (a *audit) read(ctx context.Context, from kernel.Reader) error {
	if !a.look {
		return from.Each(ctx, a.note())
	}
	var err error
	if a.entries, err = from.Entries(ctx); err != nil {
		return err
	}
	note := a.note()
	return errors.Join(from.EachServer(ctx, note), from.EachRule(ctx, note))
}

// politeness is after how many objects an audit lets others have the CPU, if there
// is but one: that many take about as long as one change. The Go runtime would do so
// after 10 ms.
const politeness = 256

// note returns what takes in an object that was read.
func (a *audit) note() func(state.ID, state.SpecRef) {
	n := 0
	return func(id state.ID, spec state.SpecRef) {
		a.digest.Add(id, spec)
		if n++; n%politeness == 0 {
			runtime.Gosched()
		}
	}
}

// endReadings takes in what has come back, and gives up what does not come back.
// An error means that nothing may be written.
func (p *Proxier) endReadings(r *report.Round, back []*audit) error {
	var err error
	for _, a := range back {
		p.reading--
		r.Kernel = r.Kernel.Plus(a.stats)
		if a == p.underway { // else the loop itself has read the kernel since, or it was given up
			p.underway = nil
			err = p.compare(r, a)
		}
	}
	if a := p.underway; a != nil && time.Since(a.began) >= auditDeadline {
		p.dismiss()
		p.unsure, r.GivenUp = true, true
		if !p.late {
			p.log.Error("an audit does not come back: it is given up and begun anew", "after", auditDeadline)
		}
		p.late = true
	}
	return err
}

// dismiss has nothing to do any more with the reading under way.
func (p *Proxier) dismiss() {
	if p.underway != nil {
		p.underway.end()
		p.underway = nil
	}
}

// compare compares what was read with what the loop takes the kernel to hold. If
// they differ after an audit, the round reads the kernel itself, to find out in
// what and to repair it; after a look there is an audit.
func (p *Proxier) compare(r *report.Round, a *audit) error {
	switch {
	case a.look:
		p.looks.spend(a.cost)
		if a.err != nil || p.missing(a) { // an audit tells of an error
			p.log.Info("something has changed in the kernel: it is compared")
			p.suspect("a look has seen a change", 0)
		}
		return nil
	case a.err != nil:
		return fmt.Errorf("read what is programmed: %w", a.err)
	}
	p.ledger.askAgain()
	if p.late {
		p.log.Info("audits come back again")
		p.late = false
	}
	p.audited = a.cost
	r.Full = p.digest.Differs(&a.digest)
	if r.Full {
		a.cost *= repairShare
	}
	p.audits.spend(a.cost)
	r.Audited = !r.Full
	return nil
}

// scheduleReadings sets when the kernel is read next.
func (p *Proxier) scheduleReadings(r *report.Round) {
	now := time.Now()
	if p.underway != nil {
		return
	}
	if r.Full || r.Audited || p.auditAt.IsZero() {
		p.auditAt = now.Add(p.auditInterval())
	}
	if period := p.config.CanaryPeriod; period > 0 && (r.Full || r.Audited || p.lookAt.IsZero()) {
		p.lookAt = now.Add(period)
	}
}

// auditInterval is the time between audits that come by themselves: that between
// looks, where an audit costs little.
func (p *Proxier) auditInterval() time.Duration {
	if p.config.CanaryPeriod == 0 {
		return p.config.AuditPeriod
	}
	return min(p.config.AuditPeriod, max(p.config.CanaryPeriod, auditShare*p.audited))
}

// dismissReaders tells readers to end, and does not wait for those that are stuck.
func (p *Proxier) dismissReaders() {
	p.dismiss()
	done := make(chan struct{})
	go func() {
		p.readers.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(partingTime):
		p.log.Warn("stopped while the kernel is read")
	}
}

// digestOf sums up what was read.
func digestOf(s *state.State) *state.Digest {
	d := &state.Digest{}
	for id, spec := range s.All() {
		d.Add(id, spec)
	}
	return d
}
