package health

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs/proxier/report"
)

// pipes is a listener of connections without a network, which go by the clock
// of a test. They buffer nothing: who does not read stops who writes.
type pipes struct{ conns chan net.Conn }

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial returns the client's end of a connection.
func (p pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// onPipes serves h until the test ends.
func onPipes(t *testing.T, h http.Handler, most int) (pipes, *crowd) {
	t.Helper()
	p, c := pipes{make(chan net.Conn)}, newCrowd(most, quiet())
	s, done := newServer(h, c, quiet()), make(chan struct{})
	go func() { _ = s.Serve(p); close(done) }()
	t.Cleanup(func() {
		close(p.conns)
		<-done
		_ = s.Close()
	})
	return p, c
}

var big = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 1<<20)) })

// What a client leaves undone ends its connection in time, and says no more
// than it did to kube-proxy's clients.
func TestSlowClients(t *testing.T) {
	proxy, _ := newHealth(false)
	h := proxy.Handler()
	for name, c := range map[string]struct {
		handler http.Handler
		send    string
		reads   bool
		within  time.Duration
		answer  string
	}{
		"asks nothing":          {h, "", true, askTimeout, ""},
		"half a header":         {h, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ", true, askTimeout, ""},
		"unsent body":           {h, "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", true, 0, "200 OK"},
		"unsent small body":     {h, "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc", true, askTimeout, "200 OK"},
		"unsent chunk":          {h, "POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nabc", true, askTimeout, "200 OK"},
		"nothing after a probe": {h, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", true, idleTimeout, "200 OK"},
		"does not read":         {h, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", false, sendTimeout, ""},
		"does not read much":    {big, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", false, sendTimeout, ""},
		"large header":          {h, "GET /healthz HTTP/1.1\r\nX-A: " + strings.Repeat("a", 2*mostHeader) + "\r\n\r\n", true, 0, "431 "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, crowd := onPipes(t, c.handler, 1)
				began, conn := time.Now(), p.dial()
				defer conn.Close()
				got := make(chan string, 1)
				if c.reads {
					go func() { b, _ := io.ReadAll(conn); got <- string(b) }()
				}
				_, _ = io.WriteString(conn, c.send)
				left := func() int { crowd.mu.Lock(); defer crowd.mu.Unlock(); return crowd.all.Len() }
				for left() > 0 && time.Since(began) < time.Hour {
					time.Sleep(100 * time.Millisecond)
					synctest.Wait()
				}
				if took := time.Since(began); took > c.within+time.Second || took < c.within {
					t.Errorf("the connection ended after %s, want %s", took, c.within)
				}
				if c.reads {
					if s := <-got; c.answer == "" && s != "" || !strings.Contains(s, c.answer) {
						t.Errorf("answered %q", s)
					}
				}
			})
		})
	}
}

// A profile takes longer than a client may take to ask and to receive. Those of
// the CPU do not go by the clock of a test; they wait in the same way.
func TestProfileTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := onPipes(t, Pages{Profiling: true}.Handler(), 8)
		for _, page := range []string{"heap?seconds=100", "goroutine?seconds=100"} {
			began, conn := time.Now(), p.dial()
			go func() {
				fmt.Fprintf(conn, "GET /debug/pprof/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", page)
			}()
			r, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			body, err := io.ReadAll(r.Body)
			if took := time.Since(began); err != nil || r.StatusCode != 200 || len(body) < 100 || took < 100*time.Second {
				t.Errorf("%s: %s after %s, %d bytes, %v", page, r.Status, took, len(body), err)
			}
			_ = conn.Close()
		}
	})
}

// files returns how many files this process has open.
func files(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(all)
}

// Thousands of connections that ask nothing, do not send what they announce or
// do not read their answers: probes are answered, and what is held is bounded.
func TestAttack(t *testing.T) {
	slow := http.NewServeMux()
	slow.Handle("/big", big)
	slow.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { plain(w, "ok") })
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	port := freePort(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	var log logged
	go func() { done <- Serve(ctx, addr, slow, false, log.logger()) }()
	ports := NewPorts(PortsConfig{
		Addresses: func() ([]netip.Addr, error) { return nil, nil }, Healthy: func() bool { return true }, Log: quiet(),
	})
	go func() { ports.Run(ctx); done <- nil }()
	ports.Observe(&report.Round{Checks: []report.HealthCheck{check("web", port, 1)}})
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { // the kernel takes little for who does not read
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	// On a busy machine an answer takes seconds.
	probe := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	for name, c := range map[string]struct {
		addr, send string
		attackers  int
		most       int
	}{
		"asks nothing":  {addr, "", 3000, mostConns},
		"half a header": {addr, "GET / HTTP/1.1\r\nX: ", 3000, mostConns},
		"unsent body":   {addr, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", 3000, mostConns},
		"does not read": {addr, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n", 600, mostConns},
		"node port":     {fmt.Sprintf("127.0.0.1:%d", port), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", 3000, mostPortConns},
	} {
		t.Run(name, func(t *testing.T) {
			ask := func() error {
				r, err := probe.Get("http://" + c.addr + "/healthz")
				if err == nil {
					_ = r.Body.Close()
				}
				return err
			}
			eventually(t, "the first answer", func() bool { return ask() == nil })
			before, goroutines := files(t), runtime.NumGoroutine()
			var open []net.Conn
			defer func() {
				for _, conn := range open {
					_ = conn.Close()
				}
			}()
			for i := range c.attackers {
				conn, err := dialer.Dial("tcp", c.addr)
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, conn)
				_, _ = io.WriteString(conn, c.send)
				if i%300 == 299 {
					if err := ask(); err != nil {
						t.Errorf("after %d connections: %v", i+1, err)
					}
				}
			}
			const slack = 20
			eventually(t, "few open files for many connections", func() bool {
				return files(t)-before-len(open) <= c.most+slack
			})
			eventually(t, "few goroutines for many connections", func() bool { // one serves, one reads what may come
				return runtime.NumGoroutine()-goroutines <= 2*c.most+slack
			})
		})
	}
	cancel()
	_, _ = <-done, <-done
	if n := log.count("too many connections"); n != 1 {
		t.Errorf("told %d times: %s", n, log.String())
	}
}

// A connection that does something stays; the one that waits for the longest
// time goes.
func TestCrowd(t *testing.T) {
	c := newCrowd(2, quiet())
	var ends []net.Conn
	for range 4 {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		ends = append(ends, b)
	}
	closed := func(i int) bool {
		_ = ends[i].SetDeadline(time.Now().Add(-time.Second))
		_, err := ends[i].Read(make([]byte, 1))
		return errors.Is(err, io.ErrClosedPipe)
	}
	c.note(ends[0], http.StateNew)
	c.note(ends[1], http.StateNew)
	c.note(ends[0], http.StateActive)
	c.note(ends[2], http.StateNew) // for 1
	c.note(ends[1], http.StateIdle)
	c.note(ends[1], http.StateClosed)
	c.note(ends[0], http.StateClosed)
	c.note(ends[3], http.StateNew) // there is room
	for i, want := range []bool{false, true, false, false} {
		if closed(i) != want {
			t.Errorf("%d is closed: %v", i, !want)
		}
	}
	if c.all.Len() != 2 || len(c.at) != 2 {
		t.Errorf("%d and %d are known", c.all.Len(), len(c.at))
	}
}
