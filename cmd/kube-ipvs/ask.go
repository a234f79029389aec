package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"kube-ipvs/netutil"
)

// How long a command waits for an answer of the kernel, which waits for the node's modprobe
// without a limit. The startup probe of the chart allows a start more time than
// answerDeadline, and its grace period is longer than stopDeadline, so that the message comes
// before the kubelet kills the process.
var (
	lateAnswer     = 30 * time.Second  // until a warning
	answerDeadline = 100 * time.Second // until an error
	stopDeadline   = 5 * time.Second   // until an error when the command has to end, so that it can undo its probes
)

// warning tells the operator that a command waits, and why.
type warning func(msg string, err error)

// warnOn returns a warning that writes to w.
func warnOn(w io.Writer) warning {
	return func(msg string, err error) { fmt.Fprintf(w, "warning: %s: %v\n", msg, err) }
}

// errSilent says that a request has not been answered, and goes on.
var errSilent = errors.New("the machine is slow, or the node's modprobe hangs")

// ask calls request, which makes requests of the kernel, and returns its results. what says in
// messages what request does. ask warns when the answer is late. An answer that does not come
// wraps errSilent after answerDeadline, or stopDeadline after ctx has ended; request then goes on,
// and only the end of the process frees its resources.
func ask[T any](ctx context.Context, warn warning, what string, request func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		value, err := request()
		done <- answer{value, err}
	}()
	began, stop := time.Now(), stopDeadline
	silence := func() error {
		return fmt.Errorf("%s: not done within %s: %w", what, time.Since(began).Truncate(time.Second), errSilent)
	}
	slow, late := time.NewTimer(lateAnswer), time.NewTimer(answerDeadline)
	defer slow.Stop()
	defer late.Stop()
	ended := context.AfterFunc(ctx, func() { late.Reset(stop) })
	defer ended()
	for {
		select {
		case a := <-done:
			return a.value, a.err
		case <-slow.C:
			warn("waits for the kernel", silence())
		case <-late.C:
			var none T
			return none, silence()
		}
	}
}

// closeAnswered closes k after the last request, which returned err, and returns both errors. It
// does not close k if that request goes on: Close would wait for it.
func closeAnswered(k io.Closer, err error) error {
	if errors.Is(err, errSilent) {
		return err
	}
	return errors.Join(err, k.Close())
}

// askUnlocked asks again and again while another program holds the xtables lock; each request
// waits for the lock for some seconds. It warns after each such request.
func askUnlocked[T any](ctx context.Context, warn warning, what string, request func() (T, error)) (T, error) {
	for {
		value, err := ask(ctx, warn, what, request)
		if !errors.Is(err, netutil.ErrBusy) || ctx.Err() != nil {
			return value, err
		}
		warn("the start waits for another program", err)
	}
}
