package main

import (
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

// A kernel that does not come back ends the start, which says so.
func TestStartHasADeadline(t *testing.T) {
	was := startDeadline
	startDeadline = 10 * time.Millisecond
	hang := make(chan struct{})
	t.Cleanup(func() { startDeadline = was; close(hang) })
	err := unlocked(t.Context(), func(error) {}, func() error { <-hang; return nil })
	if err == nil || !strings.Contains(err.Error(), "within 10ms") {
		t.Error(err)
	}
}
