package balance

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

var vs = state.VirtualServerID(state.TCP, netip.MustParseAddrPort("10.96.0.1:80"))

// addresses returns the endpoints of pods.
func addresses(pods []int) []netip.AddrPort {
	var out []netip.AddrPort
	for _, pod := range pods {
		out = append(out, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(pod >> 8), byte(pod)}), 8080))
	}
	return out
}

func realOf(pod int) state.ID { return state.RealServerID(vs, addresses([]int{pod})[0]) }

func loads(all []dest) []state.Load {
	var out []state.Load
	for _, d := range all {
		out = append(out, d.Load)
	}
	return out
}

func actual(all []dest) *state.State {
	s := &state.State{}
	for _, d := range all {
		s.Put(d.Real, state.Weight(d.Weight))
	}
	return s
}

// node is one node with a Service and its kernel.
type node struct {
	*Starts
	service   model.Service
	scheduler string
	kernel    map[int]uint32 // weights by pod
	read      error
	loads     map[int]state.Load // by pod; its weight is that of kernel
}

func newNode(scheduler string) *node {
	return &node{Starts: New("node"), scheduler: scheduler, kernel: map[int]uint32{}, service: model.Service{Balance: &model.Balance{SlowStart: 20 * time.Second}}}
}

// render renders the Service with pods, and returns their weights.
func (n *node) render(given []uint32, pods ...int) string {
	have := &state.State{}
	for pod, weight := range n.kernel {
		have.Put(realOf(pod), state.Serving(weight, n.service.Balance.MaxConnections))
	}
	n.Renders(n.service.Key, true)
	n.Follow(have)
	defer n.Follow(nil)
	out := n.Weights(&n.service, n.scheduler, vs, addresses(pods), given)
	clear(n.kernel)
	for i, pod := range pods {
		n.kernel[pod] = out[i]
	}
	return fmt.Sprint(out)
}

// later lets time pass, and returns the weights then.
func (n *node) later(d time.Duration, given []uint32, pods ...int) string {
	for range d / time.Second {
		time.Sleep(time.Second)
		n.Rise(func(state.ID) ([]state.Load, error) {
			var out []state.Load
			for pod, weight := range n.kernel {
				l := n.loads[pod]
				spec := state.Serving(weight, n.service.Balance.MaxConnections).Value()
				l.Real, l.Weight, l.Upper = realOf(pod), spec.Weight, spec.Upper
				out = append(out, l)
			}
			return out, n.read
		})
		n.render(given, pods...)
	}
	return n.render(given, pods...)
}

func want(t *testing.T, when, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: weights %s, want %s", when, got, want)
	}
}

func TestWeightsRise(t *testing.T) {
	for _, limit := range []uint32{0, 100} {
		synctest.Test(t, func(t *testing.T) { rises(t, limit) })
	}
}

func rises(t *testing.T, limit uint32) {
	n := newNode("wrr")
	n.service.Balance.MaxConnections = limit
	want(t, "the first endpoints", n.render(nil, 1, 2, 3, 4), "[20 20 20 20]")
	if !n.Next().IsZero() {
		t.Error("there is something to do")
	}
	want(t, "a new one", n.render(nil, 1, 2, 3, 4, 5), "[20 20 20 20 1]")
	want(t, "half the time", n.later(10*time.Second, nil, 1, 2, 3, 4, 5), "[20 20 20 20 11]")
	want(t, "another Service's change", n.render(nil, 1, 2, 3, 4, 5), "[20 20 20 20 11]")
	n.Starts = New("node")
	want(t, "a restart", n.render(nil, 1, 2, 3, 4, 5), "[20 20 20 20 11]")
	want(t, "and another new one", n.later(5*time.Second, nil, 1, 2, 3, 4, 5, 6), "[20 20 20 20 16 5]")
	want(t, "the rest of the time", n.later(17*time.Second, nil, 1, 2, 3, 4, 5, 6), "[20 20 20 20 20 20]")
	if !n.Next().IsZero() || len(n.of[n.service.Key].reals) != 0 {
		t.Errorf("there is something to do: %v", n.of)
	}
}

// An endpoint that goes before its time is forgotten, and begins anew if it comes again.
func TestEndpointGoesWhileItRises(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode("wrr")
		n.render(nil, 1, 2, 3)
		n.render(nil, 1, 2, 3, 4)
		n.later(10*time.Second, nil, 1, 2, 3, 4)
		n.later(2*time.Second, nil, 1, 2, 3)
		if !n.Next().IsZero() || len(n.of[n.service.Key].reals) != 0 {
			t.Errorf("there is something to do: %v", n.of)
		}
		want(t, "again", n.render(nil, 1, 2, 3, 4), "[20 20 20 1]")
	})
}

// In a rolling update the endpoints that are left get at most twice their share, and if all are
// new none is refused.
func TestRollingUpdate(t *testing.T) {
	for scheduler, wants := range map[string][2]string{"wrr": {"[20 7 7 7]", "[10 10 10]"}, "wlc": {"[1000 334 334 334]", "[500 500 500]"}} {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(scheduler)
			n.render(nil, 1, 2, 3)
			want(t, scheduler+", one old one is left", n.render(nil, 1, 4, 5, 6), wants[0])
			want(t, scheduler+", all are new", n.render(nil, 4, 5, 6), wants[1])
		})
	}
}

// A restart in the middle of a rolling update leaves the shares as they are, though no endpoint has
// its full weight any more, and the weights rise from there.
func TestRestartInRollingUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode("wrr")
		n.render(nil, 1, 2)
		n.render(nil, 1, 2, 3)
		n.later(10*time.Second, nil, 1, 2, 3)
		n.render(nil, 1, 3, 4)
		n.later(5*time.Second, nil, 1, 3, 4)
		want(t, "all are new", n.render(nil, 3, 4), "[16 10]")
		n.Starts = New("node")
		want(t, "a restart", n.render(nil, 3, 4), "[20 13]")
		want(t, "the rest of the time", n.later(10*time.Second, nil, 3, 4), "[20 20]")
		n.Starts, n.kernel = New("node"), map[int]uint32{3: 1, 4: 1}
		want(t, "a restart that brings slow start", n.render(nil, 3, 4), "[20 20]")
		n.Starts, n.kernel = New("node"), map[int]uint32{3: 9, 4: 1}
		want(t, "the same with weights", n.render([]uint32{9, 1}, 3, 4), "[27 3]")
		if !n.Next().IsZero() {
			t.Error("there is something to do")
		}
	})
}

// While all others are at their limits, a new endpoint has its full weight at once, and no longer.
func TestLimitsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode("wlc")
		n.service.Balance = &model.Balance{SlowStart: time.Hour, MaxConnections: 50}
		n.render(nil, 1, 2)
		n.loads = map[int]state.Load{1: {Active: 50}, 2: {Active: 40, Inactive: 10}}
		want(t, "at first", n.render(nil, 1, 2, 3), "[1000 1000 0]")
		if time.Until(n.Next()) > 0 {
			t.Error("the first step does not come at once")
		}
		want(t, "all others are full", n.later(time.Second, nil, 1, 2, 3), "[1000 1000 1000]")
		n.loads[1] = state.Load{Active: 49}
		n.loads[3] = state.Load{Active: 10}
		want(t, "one is not", n.later(2*time.Second, nil, 1, 2, 3), "[1000 1000 0]")
		n.loads[1] = n.loads[2]
		want(t, "full again", n.later(2*time.Second, nil, 1, 2, 3), "[1000 1000 1000]")
	})
}

// The share of an endpoint goes by its weight: a canary of a hundredth does not get all while the
// others are replaced.
func TestRollingUpdateBesideCanary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode("wrr")
		n.render([]uint32{99, 1}, 1, 2)
		want(t, "the other one is new", n.render([]uint32{1, 99}, 2, 3), "[1 49]")
	})
}

func TestGivenWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode("wrr")
		want(t, "at first", n.render([]uint32{9, 1, 9}, 1, 2, 3), "[27 3 27]")
		want(t, "a new one", n.render([]uint32{9, 1, 9, 9}, 1, 2, 3, 4), "[27 3 27 1]")
		want(t, "half the time, other weights", n.later(10*time.Second, []uint32{18, 1, 18, 18}, 1, 2, 3, 4), "[36 2 36 19]")
		want(t, "none for the new one", n.render([]uint32{9, 1, 9, 0}, 1, 2, 3, 4), "[27 3 27 0]")
	})
}

// However short the time is, a Service is not rendered more often than twice a second.
func TestStepsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode("wrr")
		n.service.Balance.SlowStart = time.Second
		n.render(nil, 1, 2, 3)
		n.render(nil, 1, 2, 3, 4)
		if d := time.Until(n.Next()); d < leastStep {
			t.Errorf("the next step comes in %v", d)
		}
	})
}

// The kernel publishes late what began before the first step: a new endpoint gets no share of
// that.
func TestBurstBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode("wlc")
		n.render(nil, 1, 2)
		n.loads = map[int]state.Load{1: {Active: 50}, 2: {Active: 50}}
		n.render(nil, 1, 2, 3)
		n.later(time.Second, nil, 1, 2, 3)
		n.loads = map[int]state.Load{1: {Active: 50, Began: 50}, 2: {Active: 50, Began: 50}}
		for range 10 {
			want(t, "after a burst", n.later(time.Second, nil, 1, 2, 3), "[1000 1000 0]")
		}
	})
}

// If the kernel cannot be read, weights behind a scheduler that counts stay.
func TestFailedRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode("wlc")
		n.render(nil, 1, 2, 3)
		want(t, "at first", n.render(nil, 1, 2, 3, 4), "[1000 1000 1000 0]")
		n.read = errors.New("interrupted")
		want(t, "unread", n.later(30*time.Second, nil, 1, 2, 3, 4), "[1000 1000 1000 0]")
		n.read = nil
		want(t, "read", n.later(2*time.Second, nil, 1, 2, 3, 4), "[1000 1000 1000 1000]")
	})
}
