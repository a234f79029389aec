package checks

import (
	"time"

	"kube-ipvs/proxier/pace"
)

const (
	// settleTime is the pause between a hint and its audit, since a program that flushes a
	// table continues for a moment.
	settleTime = 200 * time.Millisecond
	// ruleSettleTime and ruleCalmTime are settleTime and calmTime for looks at rules. They are
	// shorter, since looks are cheap, and jumps of other programs in front of those of
	// kube-ipvs may refuse packets to Services.
	ruleSettleTime = 50 * time.Millisecond
	ruleCalmTime   = 200 * time.Millisecond
	// settleMost is how long further hints may delay an audit.
	settleMost = time.Second
	// calmTime is the least time between readings after hints. In the long run calmShare
	// times the cost of a reading passes before the next one, except for readings that fit
	// into calmCredit. So kube-ipvs repairs rare changes at once, and frequent ones cost at
	// most a twentieth of a CPU.
	calmTime   = time.Second
	calmShare  = 20
	calmCredit = 20 * time.Second
	// repairShare times the cost of an audit is its cost with the repair, which reads
	// everything twice.
	repairShare = 3
)

// timing schedules audits or looks, and bounds the cost of those that follow hints.
type timing struct {
	at      time.Time // the next one on the timer; zero: none
	hinted  time.Time // the next one after hints; zero: none
	since   time.Time // the first of these hints
	because string    // the last of these hints
	last    time.Time // the last begin or end of one
	paid    time.Time // when their cost is paid for by waiting
}

// hint schedules a reading for settle after the last hint, or settleMost after the first one,
// but not sooner than calm after the last reading.
func (t *timing) hint(because string, settle, settleMost, calm time.Duration) {
	now := time.Now()
	t.because = because
	if t.since.IsZero() {
		t.since = now
	}
	at := now.Add(settle)
	if last := t.since.Add(settleMost); last.Before(at) {
		at = last
	}
	t.hinted = pace.Later(at, pace.Later(t.last.Add(calm), t.paid.Add(-calmCredit)))
}

// forget drops the hints.
func (t *timing) forget() { t.hinted, t.since = time.Time{}, time.Time{} }

// spend notes the CPU time of a reading.
func (t *timing) spend(cost time.Duration) {
	t.last = time.Now()
	t.paid = pace.Later(t.paid, t.last).Add(calmShare * cost)
}
