package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kube-ipvs/netutil"
)

// A start tries again while another program holds the xtables lock, and for no other reason.
func TestUnlocked(t *testing.T) {
	broken := errors.New("broken")
	for _, end := range []error{nil, broken} {
		tries, waited := 0, 0
		err := unlocked(t.Context(), func(error) { waited++ }, func() error {
			if tries++; tries < 3 {
				return fmt.Errorf("try: %w", netutil.ErrBusy)
			}
			return end
		})
		if !errors.Is(err, end) || tries != 3 || waited != 2 {
			t.Errorf("%v after %d tries, told of %d", err, tries, waited)
		}
	}
}

// A kernel that does not come back ends the start, which says so. Of a start that is to end it
// does so soon, but not before what comes back in time has.
func TestStartHasADeadline(t *testing.T) {
	start, stop := startDeadline, stopDeadline
	t.Cleanup(func() { startDeadline, stopDeadline = start, stop })
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	ended, end := context.WithCancel(t.Context())
	end()
	for name, c := range map[string]struct {
		ctx         context.Context
		start, stop time.Duration
	}{"never": {t.Context(), 10 * time.Millisecond, time.Hour}, "to end": {ended, time.Hour, 10 * time.Millisecond}} {
		startDeadline, stopDeadline = c.start, c.stop
		err := unlocked(c.ctx, func(error) {}, func() error { <-hang; return nil })
		if err == nil || !strings.Contains(err.Error(), "has not answered") {
			t.Errorf("%s: %v", name, err)
		}
	}
	startDeadline, stopDeadline = time.Hour, time.Hour
	if err := unlocked(ended, func(error) {}, func() error { return netutil.ErrBusy }); !errors.Is(err, netutil.ErrBusy) {
		t.Errorf("what came back in time was not told: %v", err)
	}
}
