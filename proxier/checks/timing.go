package checks

import "time"

const (
	// settleTime is how long the kernel is left alone after a hint: a program that flushes
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

// timing says when readings of a sort begin, and bounds what those cost that hints cause.
type timing struct {
	at      time.Time // one comes by itself; zero: none does
	hinted  time.Time // one comes because of hints; zero: there are none
	since   time.Time // the first of these hints came
	because string    // what the last of them was
	last    time.Time // one began, or ended
	paid    time.Time // until then their cost is made good
}

// hint has a reading begin soon: when the kernel was left alone for settle, or the first
// hint is settleMost old, and calm after the last reading at the least.
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
	t.hinted = later(at, later(t.last.Add(calm), t.paid.Add(-calmCredit)))
}

// forget forgets the hints.
func (t *timing) forget() { t.hinted, t.since = time.Time{}, time.Time{} }

// spend notes what one has cost of CPU.
func (t *timing) spend(cost time.Duration) {
	t.last = time.Now()
	t.paid = later(t.paid, t.last).Add(calmShare * cost)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// due reports whether the moment at has come.
func due(at time.Time) bool { return !at.IsZero() && !time.Now().Before(at) }
