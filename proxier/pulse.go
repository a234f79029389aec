package proxier

import (
	"sync/atomic"
	"time"
)

// pulse measures whether the loop moves.
type pulse struct {
	began time.Time    // at counts from here
	at    atomic.Int64 // nanoseconds, monotonic, of the last beat; 0: the loop is idle
}

// beat says that the loop has done one step.
func (p *pulse) beat() { p.at.Store(max(1, int64(time.Since(p.began)))) }

// rest says that the loop is idle.
func (p *pulse) rest() { p.at.Store(0) }

// stuck returns how long the current step has taken.
func (p *pulse) stuck() time.Duration {
	at := p.at.Load()
	if at == 0 {
		return 0
	}
	return max(0, time.Since(p.began)-time.Duration(at))
}
