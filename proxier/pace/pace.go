// Package pace has what the parts of the loop share about time: when work is due, and how long
// to wait before a retry.
package pace

import (
	"context"
	"time"
)

// The delays of retries.
const (
	First = 100 * time.Millisecond
	Last  = 30 * time.Second
)

// Backoff returns the delay after a further failure: First, and then twice the last delay up
// to Last. last is 0 before the first failure.
func Backoff(last time.Duration) time.Duration { return min(max(2*last, First), Last) }

// Due reports whether at is set and has passed.
func Due(at time.Time) bool { return !at.IsZero() && !time.Now().Before(at) }

// Earliest returns the first of the times that are set; zero: none is.
func Earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, at := range times {
		if !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// Later returns the later of two times.
func Later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// Pause returns after d, or when ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
