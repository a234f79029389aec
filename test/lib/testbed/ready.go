package testbed

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// AwaitReady waits until the kube-ipvs with this process number says at its usual health port that
// it has programmed all once; 5 seconds at the most, since it may not have that port. Then it is
// time for `plan`: that takes as long as a start, and slows down the start that it waits for.
func AwaitReady(ctx context.Context, pid int) {
	_ = Await(ctx, 5*time.Second, func() error {
		result := make(chan error)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			result <- readyAt(ctx, pid)
		}()
		return <-result
	})
}

// readyAt asks a process whether it is ready, and leaves this thread in the namespace of that.
func readyAt(ctx context.Context, pid int) error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil // it has ended
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	return Ready(ctx)
}

// Ready returns an error unless the kube-ipvs in the namespace of this thread says at its usual health
// port that it has programmed all once.
func Ready(ctx context.Context) error {
	c, err := (&net.Dialer{Timeout: Timeout}).DialContext(ctx, "tcp", "127.0.0.1:10256")
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(Timeout))
	if _, err := io.WriteString(c, "GET /readyz HTTP/1.0\r\n\r\n"); err != nil {
		return err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("readyz: %s", r.Status)
	}
	return nil
}
