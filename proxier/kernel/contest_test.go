package kernel

import (
	"testing"
	"time"
)

// A program that takes the first place each five minutes is answered each time; one that
// does so again and again is answered ten times at once and then each few minutes.
func TestContest(t *testing.T) {
	for _, tt := range []struct {
		each        time.Duration // they take the first place
		most, least int           // moves in four hours
	}{{5 * time.Minute, 48, 48}, {time.Second, 80, 30}, {time.Minute, 80, 30}, {time.Hour, 4, 4}} {
		var c contest
		now := time.Unix(1e9, 0)
		moves, behind := 0, false
		for end := now.Add(4 * time.Hour); now.Before(end); now = now.Add(time.Second) {
			behind = behind || now.Unix()%int64(tt.each/time.Second) == 0
			if behind && !now.Before(c.next) {
				c.moved(now)
				moves, behind = moves+1, false
			}
		}
		if moves > tt.most || moves < tt.least {
			t.Errorf("each %v: %d moves", tt.each, moves)
		}
	}
}
