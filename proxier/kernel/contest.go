package kernel

import (
	"fmt"
	"time"
)

// contest bounds how often our jumps are put back to their place, where another program
// puts itself in front of them again and again: the first freeMoves times at once, then
// later and later, up to once in contestWait. One move is made good in moveWorth.
type contest struct {
	made float64 // moves that were not made good, when the last one was made
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

// told says how the next move but this one will have to wait, if it will.
func (c contest) told() string {
	if c.made < freeMoves-1.5 {
		return ""
	}
	return fmt.Sprintf("; this has been so %d times: from now on it is set right each few minutes only", int(c.made+0.5)+1)
}
