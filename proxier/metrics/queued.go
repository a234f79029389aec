package metrics

import (
	"sync"
	"time"

	"kube-ipvs/proxier/report"
)

// lastQueued knows when changes last began to wait.
type lastQueued struct {
	backlog func() report.Backlog

	mu   sync.Mutex
	last time.Time // of those that a round has taken
}

func (q *lastQueued) set(at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if at.After(q.last) {
		q.last = at
	}
}

func (q *lastQueued) get() time.Time {
	q.set(q.backlog().Since)
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.last
}
