package proxier

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
)

// audit is a reading of the kernel beside the loop. What it reads it does not
// keep: a digest tells whether it is what the loop takes the kernel to hold.
type audit struct {
	digest state.Digest
	stats  kernel.Stats
	err    error
}

// beginAudit has a goroutine read the kernel, which takes as long as the
// cluster is large, so that no change waits for it. The loop stays the only
// writer.
func (p *Proxier) beginAudit(ctx context.Context) {
	if p.underway != nil {
		return
	}
	a := &audit{}
	p.underway, p.auditAt = a, time.Time{}
	p.digest.Watch()
	reader, err := p.kernel.Reader(ctx)
	if err != nil {
		a.err = err
		p.inbox.put(func(m *mail) { m.audited = a })
		return
	}
	p.readers.Go(func() {
		a.err = errors.Join(reader.Each(ctx, a.note()), reader.Close())
		a.stats = reader.Stats()
		p.inbox.put(func(m *mail) { m.audited = a })
	})
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

// endAudit compares what was read with what the loop takes the kernel to hold.
// If they differ, the round reads the kernel itself, to find out in what and to
// repair it. An error means that nothing may be written.
func (p *Proxier) endAudit(r *Round, a *audit) error {
	if a == nil || a != p.underway { // the loop itself has read the kernel since
		return nil
	}
	p.underway = nil
	if a.err != nil {
		return fmt.Errorf("read what is programmed: %w", a.err)
	}
	p.ledger.askAgain()
	r.Kernel = a.stats
	r.Full = p.digest.Differs(&a.digest)
	r.Audited = !r.Full
	return nil
}

// digestOf sums up what was read.
func digestOf(s *state.State) *state.Digest {
	d := &state.Digest{}
	for id, spec := range s.All() {
		d.Add(id, spec)
	}
	return d
}
