package proxier

import (
	"sync/atomic"
	"time"
)

// pulse tells whether the loop goes on.
type pulse struct {
	began time.Time    // what at counts from
	at    atomic.Int64 // nanoseconds, monotonic, of the last beat; 0: the loop waits for something to do
}

// beat says that the loop has done a piece of its work.
func (p *pulse) beat() { p.at.Store(max(1, int64(time.Since(p.began)))) }

// rest says that the loop waits for something to do.
func (p *pulse) rest() { p.at.Store(0) }

// stuck returns for how long the loop has been at one piece of its work.
func (p *pulse) stuck() time.Duration {
	at := p.at.Load()
	if at == 0 {
		return 0
	}
	return max(0, time.Since(p.began)-time.Duration(at))
}
