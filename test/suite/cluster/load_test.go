package cluster

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// load is clients that ask all the time.
type load struct {
	stop     context.CancelFunc
	ended    []chan string // of each client: how it failed, or nothing
	answered atomic.Int64
}

// request is one way to ask for a Service.
type request struct {
	from    *testbed.Host
	network string
	to      testbed.Frontend
}

// press has each of the requests made again and again in both families, each
// time from a new port. A TCP connection a request is held open, too. It
// returns when all is well so far.
func press(t *testing.T, requests ...request) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(cancel)
	l := &load{stop: cancel}
	for _, r := range requests {
		for _, four := range []bool{true, false} {
			to := r.to.Addr(four)
			l.client(ctx, fmt.Sprintf("%s from %s to %s", r.network, r.from.Name, to), func() error {
				_, err := r.from.Ask(context.WithoutCancel(ctx), r.network, to, testbed.From{})
				if err != nil && r.network == "udp" { // a datagram on its way when all changes may be lost; its sender asks again
					_, err = r.from.Ask(context.WithoutCancel(ctx), r.network, to, testbed.From{})
				}
				return err
			})
			if r.network != "tcp" {
				continue
			}
			held, err := r.from.Dial(ctx, r.network, to, testbed.From{})
			must(t, err)
			t.Cleanup(held.Close)
			l.client(ctx, fmt.Sprintf("the connection from %s to %s that was held open", r.from.Name, to), func() error {
				_, err := held.Ask()
				return err
			})
		}
	}
	l.more(t)
	return l
}

// client asks until ctx ends, or in vain.
func (l *load) client(ctx context.Context, what string, ask func() error) {
	ended := make(chan string, 1)
	l.ended = append(l.ended, ended)
	go func() {
		for ctx.Err() == nil {
			if err := ask(); err != nil {
				ended <- fmt.Sprintf("%s: %s at %s", what, testbed.Outcome(testbed.Answer{}, err), time.Now().Format("15:04:05.000"))
				return
			}
			l.answered.Add(1)
			time.Sleep(5 * time.Millisecond) // leaves the CPU to those under test
		}
		ended <- ""
	}()
}

// more waits for ten more answers for each client.
func (l *load) more(t *testing.T) {
	t.Helper()
	must(t, l.goesOn(t.Context()))
}

func (l *load) goesOn(ctx context.Context) error {
	want := l.answered.Load() + int64(10*len(l.ended))
	return testbed.Await(ctx, 30*time.Second, func() error {
		if got := l.answered.Load(); got < want {
			return fmt.Errorf("%d answers, want %d", got, want)
		}
		return nil
	})
}

// halt ends the load, after some more of it. No request may have failed.
func (l *load) halt(t *testing.T) {
	t.Helper()
	err := l.goesOn(t.Context())
	l.stop()
	for _, ended := range l.ended {
		if failure := <-ended; failure != "" {
			t.Error(failure)
		}
	}
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d requests by %d clients", l.answered.Load(), len(l.ended))
}
