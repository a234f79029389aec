package status

import (
	"sync"
	"time"

	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Round is what one pass of the loop did.
type Round struct {
	Number    uint64    `json:"number"`
	Started   time.Time `json:"started"`
	Took      float64   `json:"tookSeconds"`
	Kind      string    `json:"kind"` // one of the kinds of rounds
	Services  int       `json:"services"`
	Writes    int       `json:"writes"` // that succeeded
	Failed    int       `json:"failed"`
	Retried   int       `json:"retried"`
	Drift     int       `json:"drift"`
	Messages  uint64    `json:"messages"` // over netlink
	Processes uint64    `json:"processes"`
	Err       string    `json:"error,omitempty"` // nothing was written
}

// Kinds of rounds.
const (
	KindChange = "change" // what had changed was written
	KindAudit  = "audit"  // and the kernel, read beside the loop, was as it should be
	KindFull   = "full"   // everything was compared with the kernel
)

// Drift is something of ours that somebody else had changed.
type Drift struct {
	Found  time.Time `json:"found"`
	Object string    `json:"object"`
	What   string    `json:"what"`
}

// What a Board remembers. Of one round's drift it is half at most: who clears
// a table must not make all forgotten that was before.
const (
	roundsKept = 60
	driftKept  = 100
)

// Board remembers the last rounds that did something. Its methods may be called from any
// goroutine. The zero Board may be used.
type Board struct {
	mu      sync.Mutex
	rounds  []Round // the last ones, oldest first
	drift   []Drift
	audited time.Time // end of the last comparison with the kernel; zero: none
	written uint64    // rounds after which frontends may be others
	idle    bool      // the last of rounds was an audit that found nothing
}

// Observe takes note of a round. It returns at once.
func (b *Board) Observe(r *report.Round) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if did(r) {
		if n := len(b.rounds); n > 0 && idle(r) && b.idle {
			b.rounds = b.rounds[:n-1] // of audits that found nothing the last is enough
		}
		b.idle = idle(r)
		b.rounds = last(append(b.rounds, summary(r)), roundsKept)
	}
	if r.Full || r.Ops[entries(state.Add)]+r.Ops[entries(state.Change)]+r.Ops[entries(state.Delete)] > 0 {
		b.written++
	}
	if r.Err != nil {
		return
	}
	ended := r.Started.Add(r.Took)
	if r.Full || r.Audited {
		b.audited = ended
	}
	for i, d := range r.Drift {
		if i == driftKept/2 {
			break
		}
		b.drift = append(b.drift, Drift{ended, d.ID.String(), d.What})
	}
	b.drift = last(b.drift, driftKept)
}

// did reports whether the round is worth to be remembered. While something
// drains there is one a second that has nothing to do.
func did(r *report.Round) bool {
	return r.Full || r.Audited || r.Err != nil || r.Services > 0 || len(r.Ops) > 0 || len(r.Failures) > 0
}

// idle reports whether the round did nothing but end an audit that found nothing.
func idle(r *report.Round) bool {
	return r.Audited && r.Err == nil && r.Services == 0 && len(r.Ops) == 0 && len(r.Failures) == 0
}

func entries(v state.Verb) report.Write {
	return report.Write{Verb: v.String(), Kind: state.Entry.String()}
}

func summary(r *report.Round) Round {
	out := Round{
		Number: r.Number, Started: r.Started, Took: r.Took.Seconds(), Kind: KindChange, Services: r.Services,
		Writes: r.Writes(), Failed: r.Failed(), Retried: r.Retried, Drift: len(r.Drift),
		Messages: r.Kernel.Messages, Processes: r.Kernel.Processes,
	}
	switch {
	case r.Full:
		out.Kind = KindFull
	case r.Audited:
		out.Kind = KindAudit
	}
	if r.Err != nil {
		out.Err = r.Err.Error()
	}
	return out
}

// last returns the end of a list. What is before it is overwritten in time.
func last[T any](all []T, n int) []T {
	if len(all) <= n {
		return all
	}
	return all[:copy(all, all[len(all)-n:])]
}

// tell fills in what the board remembers.
func (b *Board) tell(v *View) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v.Rounds = append([]Round{}, b.rounds...)
	v.Drift = append([]Drift{}, b.drift...)
	v.LastAudit = b.audited
}

// changes grows when frontends may have become others.
func (b *Board) changes() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written
}
