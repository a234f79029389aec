package metrics

import (
	"sync"
	"time"

	"kube-ipvs/proxier/report"
)

// lastQueued has the time when the newest changes began to wait.
type lastQueued struct {
	backlog func() report.Backlog

	mu   sync.Mutex
	last time.Time // of the changes that rounds have taken
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
