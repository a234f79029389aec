package kernel

import (
	"fmt"
	"time"
)

// contest bounds how often kube-ipvs moves its jumps back to their place while another
// program puts its own in front again and again: the first freeMoves times at once, then
// later and later, at last once in contestWait. One move is forgotten after moveWorth.
type contest struct {
	made float64 // moves that were not forgotten, at the last one
	last time.Time
	next time.Time // until then the jumps stay where they are
}

const (
	freeMoves   = 10
	moveWorth   = 4 * time.Minute // kube-router takes its place each five minutes
	contestWait = 8 * time.Minute
)

func (c *contest) moved(now time.Time) {
	c.made = max(0, c.made-float64(now.Sub(c.last))/float64(moveWorth)) + 1
	c.last = now
	if over := int(c.made+0.5) - freeMoves; over >= 0 {
		c.next = now.Add(min(contestWait, time.Minute<<min(over, 10)))
	}
}

// told returns a text for the log if the move after this one has to wait, else "".
func (c contest) told() string {
	if c.made < freeMoves-1.5 {
		return ""
	}
	return fmt.Sprintf("; this happened %d times: from now on kube-ipvs repairs it every few minutes only", int(c.made+0.5)+1)
}
