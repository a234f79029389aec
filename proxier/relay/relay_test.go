package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"kube-ipvs/proxier/report"
)

// bench is a Relay for clients of this machine, and what each of them has dialled.
type bench struct {
	*Relay
	t    *testing.T
	at   netip.AddrPort
	stop func() // ends it and waits for that

	mu sync.Mutex
	to netip.AddrPort
}

// newBench runs a Relay after prepare has changed it.
func newBench(t *testing.T, prepare func(*Relay)) *bench {
	t.Helper()
	b := &bench{t: t, at: freePort(t)}
	l, err := Listen(b.at)
	if err != nil {
		t.Fatal(err)
	}
	b.Relay = New(Config{Listeners: []*Listener{l}, Log: slog.New(slog.DiscardHandler), Origin: func(uint8, netip.AddrPort, netip.AddrPort) (netip.AddrPort, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if !b.to.IsValid() {
			return b.to, syscall.ENOENT
		}
		return b.to, nil
	}})
	if prepare != nil {
		prepare(b.Relay)
	}
	b.Observe(&report.Round{NodeIPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { b.Run(ctx); close(done) }()
	b.stop = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Error("the relay has not ended within 5 s")
		}
	}
	t.Cleanup(b.stop)
	return b
}

// freePort returns a port that is free for TCP and UDP: nothing else here listens at
// its address.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// dials says what clients dial from now on.
func (b *bench) dials(to net.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.to = netip.MustParseAddrPort(to.String())
}

// await waits until a condition holds.
func (b *bench) await(check func() error) {
	b.t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	b.t.Fatal(err)
}

// counts waits for values of metrics, by name and first label value.
func (b *bench) counts(want map[string]float64) {
	b.t.Helper()
	b.await(func() error {
		for _, c := range []*prometheus.CounterVec{b.metrics.errors, b.metrics.total} {
			for label, n := range want {
				if m, err := c.GetMetricWithLabelValues(label); err == nil && (c == b.metrics.errors) == isCause(label) {
					if got := testutil.ToFloat64(m); got != n {
						return fmt.Errorf("%s: %v, want %v", label, got, n)
					}
				}
			}
		}
		return nil
	})
}

func isCause(label string) bool { return label != "tcp" && label != "udp" }

// open waits for a number of open connections of a protocol.
func (b *bench) open(protocol string, want float64) {
	b.t.Helper()
	b.await(func() error {
		if got := testutil.ToFloat64(b.metrics.open.WithLabelValues(protocol)); got != want {
			return fmt.Errorf("%v connections are open over %s, want %v", got, protocol, want)
		}
		return nil
	})
}

// server listens for connections.
func server(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener)
}

// connect returns both ends of a connection through the relay to l.
func (b *bench) connect(l *net.TCPListener) (client, served *net.TCPConn) {
	b.t.Helper()
	b.dials(l.Addr())
	client = b.client()
	_ = l.SetDeadline(time.Now().Add(10 * time.Second))
	served, err := l.AcceptTCP()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = served.Close() })
	// A byte has to go through: what breaks off earlier, the relay may have failed to dial.
	if _, err := client.Write([]byte("x")); err != nil {
		b.t.Fatal(err)
	}
	if _, err := io.ReadFull(served, make([]byte, 1)); err != nil {
		b.t.Fatal(err)
	}
	return client, served
}

// dial connects to the relay.
func (b *bench) dial() (*net.TCPConn, error) {
	b.t.Helper()
	c, err := net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(b.at))
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		b.t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

func (b *bench) client() *net.TCPConn {
	b.t.Helper()
	c, err := b.dial()
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// refused dials, and wants a reset: it may come before the connection is there for us.
func (b *bench) refused(why string) {
	b.t.Helper()
	c, err := b.dial()
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		b.t.Errorf("%s: %v, want a reset", why, err)
	}
}

// Each side may end what it sends while it reads on.
func TestHalfClose(t *testing.T) {
	b := newBench(t, nil)
	client, served := b.connect(server(t))
	question := bytes.Repeat([]byte("question "), 1<<17) // more than any buffer holds
	go func() {
		_, _ = client.Write(question)
		_ = client.CloseWrite()
	}()
	if got, err := io.ReadAll(served); err != nil || !bytes.Equal(got, question) {
		t.Errorf("the server has read %d bytes, %v", len(got), err)
	}
	b.open("tcp", 1)
	_, _ = served.Write([]byte("answer"))
	_ = served.Close()
	if got, err := io.ReadAll(client); err != nil || string(got) != "answer" {
		t.Errorf("the client has read %q, %v", got, err)
	}
	b.open("tcp", 0)
	b.counts(map[string]float64{"tcp": 1, "dial": 0, "limit": 0})
}

// What breaks off on one side does on the other.
func TestReset(t *testing.T) {
	b := newBench(t, nil)
	l := server(t)
	broken := func(what string, c *net.TCPConn) {
		t.Helper()
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v, want a reset", what, err)
		}
	}
	client, served := b.connect(l)
	reset(served)
	broken("the server has broken off", client)

	client, served = b.connect(l)
	reset(client)
	broken("the client has broken off", served)

	// A client may have ended its side, and then go, while the server says nothing.
	client, served = b.connect(l)
	_ = client.CloseWrite()
	if _, err := served.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the client has ended its side: %v", err)
	}
	reset(client)
	b.open("tcp", 0)

	_ = l.Close()
	b.refused("nothing listens")
	b.counts(map[string]float64{"tcp": 4, "dial": 1})
}

// Neither a node port nor all together take more than their share.
func TestLimits(t *testing.T) {
	b := newBench(t, func(r *Relay) { r.places = newPlaces(2, 1) })
	one, two, three := server(t), server(t), server(t)
	first, _ := b.connect(one)
	b.refused("the node port has its share")
	b.connect(two)
	b.dials(three.Addr())
	b.refused("all are taken")
	b.counts(map[string]float64{"limit": 2})
	reset(first)
	b.open("tcp", 1)
	b.connect(three)
}

// Another program may have the port of all addresses, of one protocol: it would get the
// clients. What Listen has taken by then it gives back.
func TestTaken(t *testing.T) {
	at := freePort(t)
	all := fmt.Sprintf(":%d", at.Port())
	taken := func(by io.Closer, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer by.Close()
		if _, err := Listen(at); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%s is taken: %v", all, err)
		}
	}
	taken(net.Listen("tcp4", all))
	taken(net.ListenPacket("udp4", all))
	l, err := Listen(at)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if c, err := net.Listen("tcp4", all); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("another program gets TCP port %s: %v, %v", all, c, err)
	}
	if c, err := net.ListenPacket("udp4", all); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("another program gets UDP port %s: %v, %v", all, c, err)
	}
}

// What was dialled may not be known, and the node may have no address.
func TestNoWay(t *testing.T) {
	b := newBench(t, nil)
	b.Observe(&report.Round{})
	for _, cause := range []string{"unknown", "source"} {
		b.refused(cause)
		b.await(func() error {
			if testutil.ToFloat64(b.metrics.errors.WithLabelValues(cause)) == 0 {
				return fmt.Errorf("no error of cause %s is counted", cause)
			}
			return nil
		})
		b.dials(server(t).Addr())
	}
}

// echo answers each datagram with a name and what it has got.
func echo(t *testing.T, name string) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		buf := make([]byte, largest)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(append([]byte(name+" "), buf[:n]...), from)
		}
	}()
	return c
}

// ask sends a datagram until the right answer comes.
func (b *bench) ask(c net.Conn, text, want string) {
	b.t.Helper()
	buf := make([]byte, largest)
	b.await(func() error {
		if _, err := c.Write([]byte(text)); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		n, err := c.Read(buf)
		if err == nil && string(buf[:n]) != want {
			err = fmt.Errorf("%d bytes are answered: %.20q, want %.20q", n, buf[:n], want)
		}
		return err
	})
}

func (b *bench) talker() net.Conn {
	b.t.Helper()
	c, err := net.Dial("udp4", b.at.String())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestDatagrams(t *testing.T) {
	b := newBench(t, func(r *Relay) { r.sure = 0; r.places = newPlaces(3, 2) })
	one, two := echo(t, "one"), echo(t, "two")
	b.dials(one.LocalAddr())
	first, second, third := b.talker(), b.talker(), b.talker()
	b.ask(first, "a", "one a")
	b.ask(second, "", "one ")
	large := string(bytes.Repeat([]byte("x"), 60000))
	b.ask(first, large, "one "+large)
	b.open("udp", 2)
	// The one that was silent for the longest time has to go for a third.
	b.ask(third, "c", "one c")
	b.open("udp", 2)
	b.ask(first, "d", "one d")
	// A client that dials another node port by the same socket is led there.
	b.dials(two.LocalAddr())
	b.ask(first, "e", "two e")
	b.counts(map[string]float64{"limit": 0, "unknown": 0})
}

// A flow ends when nothing goes either way, and all do when the relay does.
func TestDatagramsEnd(t *testing.T) {
	b := newBench(t, func(r *Relay) { r.idle = 50 * time.Millisecond })
	b.dials(echo(t, "one").LocalAddr())
	c := b.talker()
	b.ask(c, "a", "one a")
	b.open("udp", 0)
	b.ask(c, "b", "one b")
	client, _ := b.connect(server(t))
	b.stop()
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the relay has ended: %v, want a reset", err)
	}
	b.open("udp", 0)
	b.open("tcp", 0)
	if len(b.places.of) != 0 || b.places.taken != 0 {
		t.Errorf("places are taken: %v", b.places.of)
	}
}
