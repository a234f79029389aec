package health

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
)

// fakeNet makes listeners without clients.
type fakeNet struct {
	mu    sync.Mutex
	open  map[string]*fakeListener
	taken map[string]bool // by another program
	tries int
	opens int
}

type fakeListener struct {
	net    *fakeNet
	name   string
	closed chan struct{}
	fail   chan error
	once   sync.Once
}

func (n *fakeNet) listen(_ context.Context, network, addr string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tries++
	name := network + " " + addr
	if n.open[name] != nil || n.taken[name] {
		return nil, &net.OpError{Op: "listen", Net: network, Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	n.opens++
	l := &fakeListener{net: n, name: name, closed: make(chan struct{}), fail: make(chan error, 1)}
	n.open[name] = l
	return l, nil
}

// counts returns how many listeners were asked for, and how many were had.
func (n *fakeNet) counts() (tries, opens int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tries, n.opens
}

// take takes an address away from who wants it, or gives it back.
func (n *fakeNet) take(name string, taken bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.taken[name] = taken
}

// fail ends a listener.
func (n *fakeNet) fail(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open[name].fail <- errors.New("gone")
}

func (n *fakeNet) names() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for name := range n.open {
		out = append(out, name)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	case err := <-l.fail:
		return nil, err
	}
}

func (l *fakeListener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		delete(l.net.open, l.name)
		l.net.mu.Unlock()
		close(l.closed)
	})
	return nil
}

func (l *fakeListener) Addr() net.Addr { return &net.TCPAddr{} }

// world is a node as Ports sees it.
type world struct {
	*Ports
	net      *fakeNet
	mu       sync.Mutex
	prefixes []netip.Prefix
	addrs    []netip.Addr
	err      error
	lists    int
	changes  int // of the problems
	stop     func()
}

func newWorld(ipv6 bool) *world {
	w := &world{net: &fakeNet{open: map[string]*fakeListener{}, taken: map[string]bool{}}}
	w.Ports = NewPorts(PortsConfig{
		Addresses: func() ([]netip.Addr, error) { w.mu.Lock(); defer w.mu.Unlock(); w.lists++; return w.addrs, w.err },
		IPv6:      ipv6, Healthy: func() bool { return true }, Changed: func() { w.mu.Lock(); defer w.mu.Unlock(); w.changes++ }, Log: quiet(),
	})
	w.Ports.listen = w.net.listen
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	w.stop = func() { cancel(); <-done }
	return w
}

func (w *world) checks(cs ...report.HealthCheck) {
	w.Observe(&report.Round{Checks: cs, NodePort: w.prefixes})
	synctest.Wait()
}

func (w *world) set(prefixes, addrs string, err error) {
	w.mu.Lock()
	w.prefixes, w.addrs, w.err = nil, nil, err
	for _, s := range strings.Fields(prefixes) {
		w.prefixes = append(w.prefixes, netip.MustParsePrefix(s))
	}
	for _, s := range strings.Fields(addrs) {
		w.addrs = append(w.addrs, netip.MustParseAddr(s))
	}
	w.mu.Unlock()
}

func check(name string, port uint16, local int) report.HealthCheck {
	return report.HealthCheck{Key: model.Key{Namespace: "default", Name: name}, Port: port, Local: [2]int{local, local}}
}

func (w *world) expect(t *testing.T, want string) {
	t.Helper()
	if got := w.net.names(); got != want {
		t.Errorf("open: %s\nwant: %s", got, want)
	}
}

// freePort returns a port that is free on both loopback addresses.
func freePort(t *testing.T) uint16 {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

// eventually waits for what another goroutine does over real sockets.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
	}
}
