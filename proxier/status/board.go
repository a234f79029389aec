package status

import (
	"sync"
	"time"

	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Round describes one pass of the loop.
type Round struct {
	Number    uint64    `json:"number"`
	Started   time.Time `json:"started"`
	Took      float64   `json:"tookSeconds"`
	Kind      string    `json:"kind"` // one of the kinds of rounds
	Services  int       `json:"services"`
	Writes    int       `json:"writes"` // writes that succeeded
	Failed    int       `json:"failed"`
	Retried   int       `json:"retried"`
	Drift     int       `json:"drift"`
	Messages  uint64    `json:"messages"` // over netlink
	Processes uint64    `json:"processes"`
	Err       string    `json:"error,omitempty"` // why the loop has not read the kernel since its last try
}

// Kinds of rounds.
const (
	KindChange = "change" // the round wrote changes
	KindAudit  = "audit"  // an audit beside the loop has found no difference
	KindFull   = "full"   // the round compared everything with the kernel
)

// Drift is an object of kube-ipvs that another program had changed.
type Drift struct {
	Found  time.Time `json:"found"`
	Object string    `json:"object"`
	What   string    `json:"what"`
}

// Limits of a Board. The drift of one round takes at most half, so that a cleared table does not
// make the Board forget all older drift.
const (
	roundsKept = 60
	driftKept  = 100
)

// Board remembers the last rounds that did something. Its methods are safe from any goroutine.
// The zero Board is ready for use.
type Board struct {
	mu      sync.Mutex
	rounds  []Round // the last ones, oldest first
	drift   []Drift
	audited time.Time // end of the last comparison with the kernel; zero: none
	written uint64    // rounds that may have changed frontends
	idle    bool      // the last of rounds was an audit that found nothing
}

// Observe notes a round. It returns at once.
func (b *Board) Observe(r *report.Round) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if did(r) {
		if n := len(b.rounds); n > 0 && idle(r) && b.idle {
			b.rounds = b.rounds[:n-1] // the last of several audits without a difference is enough
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

// did reports whether the round did something. During a drain there is a round each second
// without work.
func did(r *report.Round) bool {
	return r.Full || r.Audited || r.Err != nil || r.Services > 0 || len(r.Ops) > 0 || len(r.Failures) > 0
}

// idle reports whether the round only ended an audit without a difference.
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
	if r.Unread != nil {
		out.Err = r.Unread.Error()
	}
	return out
}

// last returns the last elements of a list. Later calls overwrite the others.
func last[T any](all []T, n int) []T {
	if len(all) <= n {
		return all
	}
	return all[:copy(all, all[len(all)-n:])]
}

// tell adds the content of the Board to a View.
func (b *Board) tell(v *View) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v.Rounds = append([]Round{}, b.rounds...)
	v.Drift = append([]Drift{}, b.drift...)
	v.LastAudit = b.audited
}

// changes returns a number that grows when frontends may have changed.
func (b *Board) changes() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written
}
