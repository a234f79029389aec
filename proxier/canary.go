package proxier

import (
	"slices"
	"time"

	"kube-ipvs/proxier/state"
)

// What other programs do to our objects is noticed in three ways. The kernel
// tells of changes to links, addresses, routes and rules: hints in the mail. Of
// virtual servers and sets it tells nothing: a look comes now and then, which
// sees one virtual server that is not as it should be, and one entry that is
// gone or too much. Real servers, settings, and entries that changed places only
// an audit sees. A hint or a look never has anything written: it has an audit begin.

const (
	// settleTime is how long the kernel is left alone after a hint: who flushes
	// a table goes on for a moment.
	settleTime = 200 * time.Millisecond
	// ruleSettleTime is the same before a look at rules, and ruleCalmTime is to them what
	// calmTime is: looks cost little, and as long as others stand in front of our jumps
	// they may refuse what is for Services.
	ruleSettleTime = 50 * time.Millisecond
	ruleCalmTime   = 200 * time.Millisecond
	// settleMost is how long hints may put an audit off.
	settleMost = time.Second
	// calmTime is the least time between readings that hints cause. In the long run
	// calmShare times what one has cost passes before the next, but for as many as
	// fit into calmCredit: what is broken again and again costs a twentieth of a
	// CPU, and what is broken now and then is mended at once.
	calmTime   = time.Second
	calmShare  = 20
	calmCredit = 20 * time.Second
	// repairShare is how many times the cost of an audit it is with the repair,
	// which reads everything twice.
	repairShare = 3
)

// thrift bounds what readings cost that hints cause.
type thrift struct {
	last time.Time // one began, or ended
	paid time.Time // until then their cost is made good
}

// spend notes what one has cost of CPU.
func (t *thrift) spend(cost time.Duration) {
	t.last = time.Now()
	t.paid = later(t.paid, t.last).Add(calmShare * cost)
}

// free returns when the next may begin, at the least some time after the last.
func (t *thrift) free(calm time.Duration) time.Time {
	return later(t.last.Add(calm), t.paid.Add(-calmCredit))
}

// heed takes in what was asked for, and hints. It comes before the round
// writes: what the loop itself has deleted is no drift.
func (p *Proxier) heed(m mail) {
	p.unsure = p.unsure || m.audit
	if m.audit {
		p.factsAt = time.Now()
		if len(p.ledger.of) > 0 {
			p.retryAt = p.factsAt
			p.ledger.wake(true)
		}
	}
	if m.rules && p.ruleAt.IsZero() {
		p.ruleAt = later(time.Now().Add(ruleSettleTime), p.looks.free(ruleCalmTime))
	}
	if p.actual != nil && (m.more || slices.ContainsFunc(m.suspects, p.drifted)) {
		p.suspect("the kernel has told of a change", settleTime)
	}
}

// drifted reports whether an object that is gone, or changed, should not be. An
// address of the node that went took routes with it.
func (p *Proxier) drifted(id state.ID) bool {
	return p.actual.Has(id) || id.Kind == state.VIP && slices.Contains(p.facts.NodeIPs, id.Addr())
}

// suspect has an audit begin soon, after as much time to settle.
func (p *Proxier) suspect(because string, settle time.Duration) {
	now := time.Now()
	p.suspicion = because
	if p.suspectSince.IsZero() {
		p.suspectSince = now
	}
	at := now.Add(settle)
	if last := p.suspectSince.Add(settleMost); last.Before(at) {
		at = last
	}
	p.suspectAt = later(at, p.audits.free(calmTime))
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// missing reports whether a look has seen something else than what the loop
// takes to be there. Entries that it has written meanwhile may have been counted or not.
func (p *Proxier) missing(a *audit) bool {
	off := max(a.entries-a.believed, a.believed-a.entries)
	return p.digest.LookDiffers(&a.digest) || uint64(off) > p.written-a.written
}
