package eject

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/pace"
	"kube-ipvs/proxier/state"
	"kube-ipvs/test/lib/testbed"
)

var (
	web    = &model.Service{Key: model.Key{Namespace: "default", Name: "web"}}
	server = state.VirtualServerID(state.TCP, netip.MustParseAddrPort("10.96.0.1:80"))
)

func endpointOf(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 0, byte(i)}), 8080)
}

// world has endpoints 0 to n-1 of one Service, the connections to them, and a Watch.
type world struct {
	t     *testing.T
	watch *Watch
	log   testbed.Log
	board model.Board

	mu       sync.Mutex
	all      []netip.AddrPort
	fate     map[netip.AddrPort]error // of the packets to an endpoint; nil: they are answered
	deaf     bool                     // nothing that the node itself sends is answered
	loss     float64                  // the part of packets that are lost, each way
	waiting  map[uint32]netip.AddrPort
	began    uint32
	dialled  int
	busy     map[netip.AddrPort]int // endpoints that are dialled now, how often
	mostBusy int                    // the most of them at once
	readErr  error
	silent   []netip.AddrPort // of other Services
	readings int
}

var errSilent = errors.New("no answer")

func newWorld(t *testing.T, n int) *world {
	w := &world{t: t, fate: map[netip.AddrPort]error{}, waiting: map[uint32]netip.AddrPort{}, busy: map[netip.AddrPort]int{}}
	for i := range n {
		w.all = append(w.all, endpointOf(i))
	}
	w.watch = New(Config{
		Flows:   func(context.Context) (kernel.Flows, error) { return flows{world: w}, nil },
		Dial:    w.dial,
		Changed: w.changed,
		Log:     slog.New(slog.NewTextHandler(&w.log, nil)),
	})
	return w
}

// changed renders the Service, and no other.
func (w *world) changed(key model.Key) {
	if key == web.Key {
		w.ejected()
	}
}

// run renders the Service and runs the Watch until the test ends.
func (w *world) run() {
	w.render(3 * time.Second)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() { w.watch.Run(ctx); close(done) }()
	w.t.Cleanup(func() { cancel(); <-done })
}

// render renders the Service as the loop does, and returns the endpoints with weight 0.
func (w *world) render(after time.Duration) []netip.AddrPort {
	w.mu.Lock()
	all := slices.Clone(w.all)
	w.mu.Unlock()
	w.watch.Renders(web.Key, after)
	var out []netip.AddrPort
	for i, is := range w.watch.Ejected(web, server, all, nil) {
		if is {
			out = append(out, all[i])
		}
	}
	return out
}

// check reports what the watch would forget to look at: endpoints that it does not try again, does
// not find by address, or does not judge though connections to them wait; and what it would not
// forget.
func (w *Watch) check(t *testing.T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, of := range w.services {
		if len(of.spared) > 0 && !w.restless[of] {
			t.Errorf("%s has spared endpoints, and is not judged", of.key)
		}
		for _, some := range []map[netip.AddrPort]*endpoint{of.waiting, of.untried} {
			for at, e := range some {
				if of.endpoints[at] != e {
					t.Errorf("%s of %s is judged or tried, and gone", at, of.key)
				}
			}
		}
		for at, e := range of.endpoints {
			n++
			if needs := e.isEjected() || !e.reached; needs != (of.untried[at] == e) || needs && !w.restless[of] {
				t.Errorf("%s of %s is to be tried again: %v, and is not", at, of.key, needs)
			}
			if !slices.Contains(w.at[state.FamilyOf(at.Addr())][at], e) {
				t.Errorf("%s of %s is not found", at, of.key)
			}
			if waits := len(e.waiting) > 0; waits != (of.waiting[at] == e) || waits && !w.restless[of] {
				t.Errorf("%s of %s has %d connections that wait, and is not judged", at, of.key, len(e.waiting))
			}
		}
	}
	for of := range w.restless {
		if w.services[of.key] != of {
			t.Errorf("%s is judged, and gone", of.key)
		}
	}
	for _, all := range w.at {
		for _, same := range all {
			n -= len(same)
		}
	}
	if n != 0 {
		t.Errorf("%d endpoints are found that no Service has", -n)
	}
}

// ejected returns the endpoints with weight 0.
func (w *world) ejected() []netip.AddrPort {
	defer w.watch.check(w.t)
	return w.render(3 * time.Second)
}

// read returns the number of readings.
func (w *world) read() (n int) {
	w.set(func() { n = w.readings })
	return n
}

// problems returns what is told of the Service.
func (w *world) problems() string {
	w.watch.Tell(&w.board, func(model.Key) (string, string) { return "", "u-1" })
	var lines []string
	for _, p := range w.board.List() {
		if p.UID != "u-1" || p.Reason != model.EndpointsSilent {
			w.t.Errorf("problem %+v", p)
		}
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

func (w *world) set(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

// arrives returns the error that a packet to an endpoint and its answer meet.
func (w *world) arrives(at netip.AddrPort) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if kept := 1 - w.loss; rand.Float64() > kept*kept { // the packet and its answer
		return errSilent
	}
	return w.fate[at]
}

// dial sends a SYN, and sends it again after a second.
func (w *world) dial(ctx context.Context, at netip.AddrPort) error {
	w.set(func() {
		w.dialled++
		w.busy[at]++
		w.mostBusy = max(w.mostBusy, len(w.busy))
	})
	defer w.set(func() {
		if w.busy[at]--; w.busy[at] == 0 {
			delete(w.busy, at)
		}
	})
	for {
		err, deaf := w.arrives(at), false
		if w.set(func() { deaf = w.deaf }); deaf {
			err = errSilent
		}
		if !errors.Is(err, errSilent) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// connect has a client connect to an endpoint. It sends SYNs at 0, 1 and 3 seconds, or one
// alone; conntrack keeps the connection for two minutes after the last.
func (w *world) connect(at netip.AddrPort, patient bool) {
	var number uint32
	w.set(func() {
		w.began++
		number = w.began
		w.waiting[number] = at
	})
	pace.Pause(w.t.Context(), time.Millisecond)
	for i := range 3 {
		if err := w.arrives(at); !errors.Is(err, errSilent) {
			w.set(func() { delete(w.waiting, number) })
			return
		}
		if !patient {
			break
		}
		pace.Pause(w.t.Context(), time.Second<<i)
	}
	pace.Pause(w.t.Context(), 2*time.Minute)
	w.set(func() { delete(w.waiting, number) })
}

// clients has clients connect to each endpoint that has a weight, each pause, until the test
// ends.
func (w *world) clients(pause time.Duration, patient func() bool) {
	go func() {
		for w.t.Context().Err() == nil {
			pace.Pause(w.t.Context(), pause)
			dead := w.watch.dead(web.Key)
			var all []netip.AddrPort
			w.set(func() { all = w.all })
			for _, at := range all {
				if !slices.Contains(dead, at) {
					go w.connect(at, patient())
				}
			}
		}
	}()
}

// dead returns the ejected endpoints of a Service.
func (w *Watch) dead(key model.Key) []netip.AddrPort {
	w.mu.Lock()
	defer w.mu.Unlock()
	if of := w.services[key]; of != nil {
		return of.ejected()
	}
	return nil
}

func patient() bool { return true }

// flows is conntrack.
type flows struct {
	kernel.Flows
	world *world
}

func (f flows) Close() error { return nil }

func (f flows) Unanswered(_ context.Context, family state.Family, note func(netip.AddrPort, uint32)) error {
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	f.world.readings++
	for number, at := range maps.All(f.world.waiting) {
		if state.FamilyOf(at.Addr()) == family {
			note(at, number)
		}
	}
	return f.world.readErr
}

// A dead endpoint is out within eject-after, whenever it dies, and back once it answers.
func TestDeadEndpoint(t *testing.T) {
	for phase := range 20 {
		t.Run(fmt.Sprint(phase), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 4)
				w.loss = 0.05
				w.run()
				w.clients(100*time.Millisecond, patient)
				time.Sleep(30*time.Second + time.Duration(phase)*50*time.Millisecond)
				w.set(func() { w.fate[endpointOf(2)] = errSilent })
				died := time.Now()
				for len(w.ejected()) == 0 {
					time.Sleep(10 * time.Millisecond)
				}
				if took := time.Since(died); took > 3*time.Second {
					t.Errorf("it is out after %s", took)
				}
				time.Sleep(time.Minute)
				if got := w.ejected(); !slices.Equal(got, []netip.AddrPort{endpointOf(2)}) {
					t.Errorf("%v are out", got)
				}
				if got := w.problems(); got != "Service default/web: metadata.annotations[kube-ipvs/eject-after]: no answer to this node from 10.244.0.2:8080, of 4 endpoints; no new connections there until they answer" {
					t.Errorf("problems %s", got)
				}
				if now, since := w.watch.Sum(); now != 1 || since != 1 {
					t.Errorf("%d are ejected, %d were since", now, since)
				}
				w.set(func() { w.fate[endpointOf(2)] = nil })
				time.Sleep(lastPause + probeTime + period)
				if got := w.ejected(); len(got) > 0 {
					t.Errorf("%v are still out", got)
				}
				if got := w.problems(); got != "" {
					t.Errorf("problems %s", got)
				}
				if now, since := w.watch.Sum(); now != 0 || since != 0 {
					t.Errorf("%d are ejected, %d were since", now, since)
				}
			})
		})
	}
}

// What is not a dead endpoint, or must not be ejected all the same.
func TestSpared(t *testing.T) {
	for name, tt := range map[string]struct {
		of, dead int
		fate     error // errSilent if nil
		how      func(*world)
		told     bool // that endpoints are spared
	}{
		"the only one":                    {of: 1, dead: 1, told: true},
		"all":                             {of: 4, dead: 4, told: true},
		"more than half":                  {of: 4, dead: 3, told: true},
		"refusing":                        {of: 4, dead: 1, fate: unix.ECONNREFUSED},
		"the node itself cannot probe":    {of: 4, dead: 1, how: func(w *world) { w.deaf = true }, told: true},
		"the firewall forbids the probes": {of: 4, dead: 1, how: func(w *world) { w.watch.config.Dial = forbidden }},
		"clients that a policy refuses": {of: 4, how: func(w *world) {
			go func() {
				for w.t.Context().Err() == nil {
					pace.Pause(w.t.Context(), 100*time.Millisecond)
					w.set(func() { w.began++; w.waiting[w.began] = endpointOf(0) })
				}
			}()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, tt.of)
				if tt.fate == nil {
					tt.fate = errSilent
				}
				if tt.how != nil {
					tt.how(w)
				}
				w.run()
				w.clients(100*time.Millisecond, patient)
				time.Sleep(10 * time.Second)
				w.set(func() {
					for i := range tt.dead {
						w.fate[endpointOf(i)] = tt.fate
					}
				})
				time.Sleep(time.Minute)
				if _, ever := w.watch.Sum(); ever > 0 {
					t.Errorf("%d endpoints were ejected:\n%s", ever, w.log.String())
				}
				if told := w.problems(); tt.told != strings.Contains(told, "; they are not ejected, since more than half would be, or no other answers") {
					t.Errorf("problems %s", told)
				}
				if w.dialled > 15*verdictAttempts*(1+fewControls) {
					t.Errorf("the node has dialled %d times", w.dialled)
				}
			})
		})
	}
}

func forbidden(context.Context, netip.AddrPort) error { return unix.EPERM }

// In an hour of connections no endpoint is ejected, though a packet of twenty is lost each way
// and half of the clients do not try again.
func TestLossEjectsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		w.loss = 0.05
		w.run()
		w.clients(100*time.Millisecond, func() bool { return rand.N(2) == 0 })
		time.Sleep(time.Hour)
		if _, ever := w.watch.Sum(); ever > 0 {
			t.Errorf("%d ejections:\n%s", ever, w.log.String())
		}
		w.set(func() {
			t.Logf("%d connections, %d readings, %d of the node's own connections", w.began, w.readings, w.dialled)
		})
	})
}

// An endpoint whose first answers are lost is not dead as long as one comes: a test that counts on
// chance, as TestLossEjectsNone does, fails too seldom to tell how many may be lost.
func TestOneAnswer(t *testing.T) {
	for _, lost := range []int{11, 12} {
		synctest.Test(t, func(t *testing.T) {
			var dialled atomic.Int32
			w := New(Config{Dial: func(ctx context.Context, _ netip.AddrPort) error {
				if int(dialled.Add(1)) > lost {
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			}})
			silents := w.reachAll(t.Context(), web.Key, []netip.AddrPort{endpointOf(0)})
			if dead := lost == 12; dead != (len(silents) > 0) {
				t.Errorf("of 12 attempts %d were lost: silent are %v", lost, silents)
			}
		})
	}
}

// However many die one after another, half of the endpoints stay, also when others leave the
// Service.
func TestHalfStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5)
		w.run()
		w.clients(100*time.Millisecond, patient)
		time.Sleep(time.Second)
		for i := range 4 {
			w.set(func() { w.fate[endpointOf(i)] = errSilent })
			time.Sleep(30 * time.Second)
		}
		if got := w.ejected(); !slices.Equal(got, w.all[:2]) {
			t.Errorf("%v are out", got)
		}
		want := "no answer to this node from 10.244.0.0:8080, 10.244.0.1:8080, of 5 endpoints; no new connections there until they answer"
		if got := w.problems(); !strings.Contains(got, want) || !strings.Contains(got, "from 10.244.0.2:8080, 10.244.0.3:8080, of 5 endpoints; they are not ejected") {
			t.Errorf("problems %s", got)
		}
		w.set(func() { w.all = w.all[:3] })
		if got := w.ejected(); len(got) != 1 {
			t.Errorf("%v of three are out", got)
		}
	})
}

// An endpoint that never answered the node is not ejected, whatever its clients meet: a policy may
// keep the node from it.
func TestNeverReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4)
		w.set(func() { w.fate[endpointOf(3)] = errSilent })
		w.run()
		w.clients(100*time.Millisecond, patient)
		time.Sleep(time.Minute)
		if got := w.ejected(); len(got) > 0 {
			t.Errorf("%v are out", got)
		}
	})
}

// However many endpoints refuse the node, and though their Service is rendered all the time, those
// that accept are reached sooner or later: they can be ejected afterwards.
func TestEachIsTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const endpoints, accepting = 1500, 20
		w := newWorld(t, 0)
		for i := range endpoints {
			at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 245, byte(i >> 8), byte(i)}), 8080)
			if w.all = append(w.all, at); i < endpoints-accepting {
				w.fate[at] = unix.ECONNREFUSED
			}
		}
		w.run()
		for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
			w.watch.Renders(web.Key, 3*time.Second)
			time.Sleep(30 * time.Millisecond)
			w.watch.Ejected(web, server, w.all, nil)
		}
		w.watch.check(t)
		w.watch.mu.Lock()
		defer w.watch.mu.Unlock()
		if left := len(w.watch.services[web.Key].untried); left > endpoints-accepting {
			t.Errorf("%d of %d endpoints were never reached, and %d accept", left, endpoints, accepting)
		}
	})
}

// However many endpoints there are, and though none answers, few are probed at once.
func TestProbesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 200)
		w.set(func() { w.deaf = true })
		w.run()
		w.clients(10*time.Millisecond, patient)
		time.Sleep(time.Minute)
		w.set(func() {
			if w.mostBusy < mostTried || w.mostBusy > mostProbed {
				t.Errorf("%d endpoints are probed at once, want %d to %d", w.mostBusy, mostTried, mostProbed)
			}
		})
	})
}

// A probe opens a connection and closes it, and sends nothing over it.
func TestProbeSendsNothing(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := dial(t.Context(), l.Addr().(*net.TCPAddr).AddrPort()); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
		t.Errorf("the endpoint has got %q, %v", got, err)
	}
}

// An endpoint that leaves the Service and comes back serves at once, and so do all without
// the annotation.
func TestForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4)
		w.run()
		w.clients(100*time.Millisecond, patient)
		out := func() {
			t.Helper()
			time.Sleep(10 * time.Second)
			if got := w.ejected(); !slices.Equal(got, []netip.AddrPort{endpointOf(3)}) {
				t.Errorf("%v are out", got)
			}
		}
		time.Sleep(time.Second)
		w.set(func() { w.fate[endpointOf(3)] = errSilent })
		out()
		w.set(func() { w.all = w.all[:3]; delete(w.fate, endpointOf(3)) })
		w.ejected()
		w.set(func() { w.all = w.all[:4] })
		if got := w.ejected(); len(got) > 0 {
			t.Errorf("%v are out, after they were away", got)
		}
		time.Sleep(time.Second)
		w.set(func() { w.fate[endpointOf(3)] = errSilent })
		out()
		if got := w.render(0); len(got) > 0 {
			t.Errorf("%v are out without the annotation", got)
		}
		w.watch.check(t)
	})
}

// An endpoint that answers again serves again, however often its Service is rendered meanwhile and
// however long that takes.
func TestReturnBesideRenderings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4)
		w.run()
		w.clients(100*time.Millisecond, patient)
		time.Sleep(time.Second)
		w.set(func() { w.fate[endpointOf(3)] = errSilent })
		time.Sleep(10 * time.Second)
		if got := w.ejected(); len(got) != 1 {
			t.Fatalf("%v are out", got)
		}
		w.set(func() { delete(w.fate, endpointOf(3)) })
		for range 50 {
			w.watch.Renders(web.Key, 3*time.Second)
			time.Sleep(300 * time.Millisecond)
			w.watch.Ejected(web, server, w.all, nil)
			time.Sleep(100 * time.Millisecond)
		}
		if got := w.ejected(); len(got) > 0 {
			t.Errorf("%v are out", got)
		}
	})
}

// Without a Service that asks for it nothing is read, and failing readings are told once.
func TestReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4)
		w.run()
		w.render(0)
		time.Sleep(time.Minute)
		w.set(func() { w.readings = 0 })
		time.Sleep(time.Minute)
		if n := w.read(); n > 0 {
			t.Errorf("%d readings", n)
		}
		w.render(3 * time.Second)
		time.Sleep(time.Minute)
		if n := w.read(); n < 100 {
			t.Errorf("%d readings", n)
		}
		w.set(func() { w.readErr = errors.New("no memory") })
		time.Sleep(time.Minute)
		w.set(func() { w.readErr = nil })
		time.Sleep(time.Minute)
		for _, line := range []string{"conntrack cannot be read", "conntrack can be read again"} {
			if n := strings.Count(w.log.String(), line); n != 1 {
				t.Errorf("%d lines have %s:\n%s", n, line, w.log.String())
			}
		}
	})
}

// However many endpoints of other Services are silent, also in one namespace, the dead endpoint of
// a Service is out in time.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4)
		flood := func() {
			for i := range 200 {
				key := model.Key{Namespace: "flood", Name: fmt.Sprint(i)}
				w.watch.Renders(key, 3*time.Second)
				w.watch.Ejected(&model.Service{Key: key}, server, w.silent, nil)
			}
		}
		for i := range 20 {
			at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 245, 0, byte(i)}), 8080)
			w.silent, w.fate[at] = append(w.silent, at), errSilent
		}
		flood()
		w.run()
		w.clients(100*time.Millisecond, patient)
		for _, at := range w.silent {
			for range fewest {
				go w.connect(at, true)
			}
		}
		time.Sleep(20 * time.Second)
		w.set(func() { w.fate[endpointOf(2)] = errSilent })
		died := time.Now()
		for len(w.ejected()) == 0 && time.Since(died) < time.Minute {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(died); took > 3500*time.Millisecond {
			t.Errorf("it is out after %s", took)
		}
	})
}
