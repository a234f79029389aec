package load

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// pair is a client that asks a server.
type pair struct {
	*Client
	requests, echo net.Listener
	conns          chan net.Conn // that the server has accepted to last
	stop           func() error  // ends the server in good order
}

// spy tells of the connections that a listener accepts.
type spy struct {
	net.Listener
	conns chan net.Conn
}

func (s spy) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	if err == nil {
		s.conns <- conn
	}
	return conn, err
}

func start(t *testing.T) *pair {
	t.Helper()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	p := &pair{requests: listen(), echo: listen(), conns: make(chan net.Conn, 1000)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- (&Server{Name: "one"}).Serve(ctx, p.requests, spy{p.echo, p.conns}) }()
	p.stop = func() error {
		cancel()
		return <-ended
	}
	p.Client = &Client{HTTP: p.requests.Addr().String(), Echo: p.echo.Addr().String(),
		Workers: 2, Connections: 2, Pause: time.Millisecond, Period: time.Millisecond, Patience: testbed.Limit(10 * time.Second)}
	done := make(chan struct{})
	asking, enough := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		p.Run(asking)
	}()
	t.Cleanup(func() {
		enough()
		<-done
	})
	return p
}

func (p *pair) await(t *testing.T, what string, ok func(Counts) bool) Counts {
	t.Helper()
	var seen Counts
	err := testbed.Await(t.Context(), 20*time.Second, func() error {
		if seen = p.Counts(); !ok(seen) {
			return fmt.Errorf("waiting for %s: %+v", what, seen)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

func (p *pair) busy(t *testing.T) {
	t.Helper()
	n := p.await(t, "answers", func(n Counts) bool { return n.Requests > 20 && n.Exchanged > 20 && n.Open == 2 })
	if n.Failed+n.Lost+n.Ended > 0 || n.Servers["one"] != n.Requests {
		t.Errorf("all is well, and it counts %+v", n)
	}
}

// A connection that the server ends in good order is not lost.
func TestEnd(t *testing.T) {
	p := start(t)
	p.busy(t)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if n := p.await(t, "the end", func(n Counts) bool { return n.Ended == 2 }); n.Lost > 0 {
		t.Errorf("%+v", n)
	}
}

// One that ends otherwise is.
func TestLost(t *testing.T) {
	for name, linger := range map[string]int{"reset": 0, "closed": -1} {
		t.Run(name, func(t *testing.T) {
			p := start(t)
			p.busy(t)
			conn := (<-p.conns).(*net.TCPConn)
			if err := conn.SetLinger(linger); err != nil {
				t.Fatal(err)
			}
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			if n := p.await(t, "the loss", func(n Counts) bool { return n.Lost == 1 && n.Open == 2 }); n.Ended > 0 || n.Failed > 0 || len(n.Errors) != 1 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// One over which nothing comes any more is lost, too.
func TestSilent(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := &Client{HTTP: silent.Addr().String(), Echo: silent.Addr().String(), Workers: 1, Connections: 1, Patience: 50 * time.Millisecond}
	p := &pair{Client: c}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go c.Run(ctx)
	p.await(t, "failures", func(n Counts) bool { return n.Failed > 1 && n.Lost > 1 })
}

// A request that nothing answers has failed.
func TestFailed(t *testing.T) {
	p := start(t)
	p.busy(t)
	_ = p.requests.Close()
	before := p.Counts()
	p.await(t, "failures", func(n Counts) bool { return n.Failed > 10 })
	if n := p.Counts(); n.Lost > before.Lost {
		t.Errorf("%+v", n)
	}
}
