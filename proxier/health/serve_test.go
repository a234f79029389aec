package health

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// logged is a log to look at.
type logged struct{ testbed.Log }

func (l *logged) count(s string) int { return strings.Count(l.String(), s) }

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func TestServeNothing(t *testing.T) {
	if err := Serve(t.Context(), "", nil, true, quiet()); err != nil {
		t.Error(err)
	}
}

func TestServeHardFail(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = Serve(t.Context(), taken.Addr().String(), http.NotFoundHandler(), true, quiet())
	if err == nil || !strings.HasPrefix(err.Error(), "serve "+taken.Addr().String()+": ") {
		t.Errorf("got %v", err)
	}
}

// An address that is taken is tried every five seconds, and that is said once;
// likewise one that fails later.
func TestServeRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		n := &fakeNet{open: map[string]*fakeListener{}, taken: map[string]bool{"tcp 127.0.0.1:1": true}}
		s := &server{addr: "127.0.0.1:1", log: log.logger(), handler: http.NotFoundHandler(), listen: func(network, addr string) (net.Listener, error) {
			return n.listen(context.Background(), network, addr)
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.run(ctx) }()
		time.Sleep(time.Minute - time.Second)
		synctest.Wait()
		if n.tries != 12 || log.count("cannot be served") != 1 {
			t.Errorf("%d tries, log %s", n.tries, log.String())
		}
		n.take("tcp 127.0.0.1:1", false)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n.opens != 1 || log.count("address is served") != 1 {
			t.Errorf("%d opened, log %s", n.opens, log.String())
		}
		n.fail("tcp 127.0.0.1:1")
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if n.opens != 2 || log.count("cannot be served") != 2 || log.count("gone") != 1 {
			t.Errorf("%d opened, log %s", n.opens, log.String())
		}
		cancel()
		if err := <-done; err != nil || len(n.open) != 0 {
			t.Errorf("%v, still open: %v", err, n.open)
		}
	})
}

func TestServeHardFailLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNet{open: map[string]*fakeListener{}}
		s := &server{addr: "x", hardFail: true, log: quiet(), handler: http.NotFoundHandler(), listen: func(network, addr string) (net.Listener, error) {
			return n.listen(context.Background(), network, addr)
		}}
		done := make(chan error, 1)
		go func() { done <- s.run(t.Context()) }()
		synctest.Wait()
		n.fail("tcp x")
		if err := <-done; err == nil || err.Error() != "serve x: gone" {
			t.Errorf("got %v", err)
		}
	})
}

// A request under way is answered when the server ends, and no goroutine stays.
func TestServeEnds(t *testing.T) {
	before := runtime.NumGoroutine()
	asked, answer := make(chan struct{}), make(chan struct{})
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				close(asked)
				<-answer
			}
			_, _ = io.WriteString(w, "hello")
		}), false, quiet())
	}()
	client := &http.Client{Transport: &http.Transport{}}
	fetch := func(path string) string {
		r, err := client.Get("http://" + addr + path)
		if err != nil {
			return err.Error()
		}
		defer r.Body.Close()
		body, _ := io.ReadAll(r.Body)
		return string(body)
	}
	eventually(t, "the first answer", func() bool { return fetch("/") == "hello" })
	slow := make(chan string, 1)
	go func() { slow <- fetch("/slow") }()
	<-asked
	cancel()
	eventually(t, "the end of new connections", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	close(answer)
	if got := <-slow; got != "hello" {
		t.Errorf("slow request: %s", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	client.CloseIdleConnections()
	eventually(t, "the end of all goroutines", func() bool { return runtime.NumGoroutine() <= before })
	if ln, err := net.Listen("tcp", addr); err != nil {
		t.Error(err)
	} else {
		_ = ln.Close()
	}
}
