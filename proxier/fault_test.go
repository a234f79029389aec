package proxier_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"kube-ipvs/proxier"
	"kube-ipvs/proxier/cluster"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/health"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
	"kube-ipvs/test/lib/world"
)

// fault is a permanent fault of a node.
type fault struct {
	name   string
	writes func(state.ID) error // why the kernel refuses the write of an object
	reads  func(*kernel.Fake, error)
	alone  bool // it concerns single objects, for which the node is not at fault
}

// faulted is a kernel with a fault.
type faulted struct {
	*kernel.Fake
	fault  fault
	reader error // what Reader returns
}

func (k *faulted) Apply(ctx context.Context, plan state.Plan) []error {
	errs := make([]error, len(plan))
	for i, op := range plan {
		if k.fault.writes != nil {
			errs[i] = k.fault.writes(op.ID)
		}
		if errs[i] == nil {
			if e := k.Fake.Apply(ctx, state.Plan{op}); e != nil {
				errs[i] = e[0]
			}
		}
	}
	return errs
}

func (k *faulted) Reader(ctx context.Context) (kernel.Reader, error) {
	if k.reader != nil {
		return nil, k.reader
	}
	return k.Fake.Reader(ctx)
}

var errFault = errors.New("a fault that was injected")

// faults are the injected faults of kernel objects.
func faults(rnd *rand.Rand, objects []state.ID) []fault {
	victim := objects[rnd.IntN(len(objects))]
	one := func(err error) func(state.ID) error {
		return func(id state.ID) error {
			if id == victim {
				return err
			}
			return nil
		}
	}
	kind := func(k state.Kind, err error) func(state.ID) error {
		return func(id state.ID) error {
			if id.Kind == k {
				return err
			}
			return nil
		}
	}
	out := []fault{
		{name: "the kernel refuses the value of " + victim.String(), writes: one(unix.EINVAL), alone: true},
		{name: "another program's object is in the way of " + victim.String(), writes: one(kernel.ErrForeign), alone: true},
		{name: "the kernel has changed since it was read at " + victim.String(), writes: one(fmt.Errorf("%w: %w", kernel.ErrStale, unix.ESRCH))},
		{name: "the node cannot write " + victim.String(), writes: one(errFault)},
		{name: "audits cannot read", reads: func(*kernel.Fake, error) {}},
	}
	for k := state.Setting; k < state.Flow; k++ {
		out = append(out, fault{name: "the node cannot write any " + k.String(), writes: kind(k, unix.EROFS)})
	}
	return out
}

// With any one fault on the node, the loop programs all objects that do not need the faulty one, and
// follows changes. No probe tells the kubelet or load balancers that the node is lost.
func TestAnySingleFault(t *testing.T) {
	lost, played := 0, 0
	for _, mode := range []desired.Mode{desired.Direct, desired.Image} {
		for seed := range 5 {
			rnd := rand.New(rand.NewPCG(uint64(seed), 1))
			events := clusterEvents(seed, rnd)
			whole := program(t, mode, events)
			var objects []state.ID
			for id := range whole.All() {
				objects = append(objects, id)
			}
			slices.SortFunc(objects, state.ID.Compare)
			for _, f := range faults(rnd, objects) {
				played++
				ok := t.Run(fmt.Sprintf("%s/%d/%s", mode, seed, f.name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { playFault(t, mode, f, events, whole) })
				})
				if !ok {
					lost++
				}
			}
		}
	}
	t.Logf("%d nodes lost of %d", lost, played)
}

// clusterEvents are Services and EndpointSlices of a small cluster, and then
// changes of them.
func clusterEvents(seed int, rnd *rand.Rand) []source.Event {
	draw := rapid.Custom(func(t *rapid.T) source.Event {
		if rapid.Bool().Draw(t, "service") {
			return source.Event{Service: world.Service(t)}
		}
		return source.Event{Slice: world.Slice(t)}
	})
	var out []source.Event
	for i := range 20 {
		e := draw.Example(seed*1000 + i)
		if e.Service != nil {
			e.Service.Annotations = nil // schedulers are another matter
		}
		e.Deleted = rnd.IntN(8) == 0
		out = append(out, e)
	}
	return out
}

func faultConfig(mode desired.Mode) proxier.Config {
	return proxier.Config{
		Config: cluster.Config{Desired: desired.Config{
			Mode: mode, Scheduler: "rr", IPv6: true, Images: desired.DefaultImages, MasqueradeBit: 14, NodeName: world.Node,
		}},
		AuditPeriod: time.Minute, CanaryPeriod: 30 * time.Second, DrainTimeout: time.Second, Log: slog.New(slog.DiscardHandler),
	}
}

func faultKernel() *kernel.Fake {
	k := kernel.NewFake()
	k.NodeFacts = state.Facts{NodeIPs: []netip.Addr{netip.MustParseAddr("192.168.50.1"), netip.MustParseAddr("fd50::1")}, MTU: 1500}
	return k
}

// program returns the objects of a node without a fault.
func program(t *testing.T, mode desired.Mode, events []source.Event) *state.State {
	k := faultKernel()
	synctest.Test(t, func(t *testing.T) { playFault(t, mode, fault{}, events, nil, k) })
	return k.State
}

// playFault runs a node with a fault for a while. whole has its objects without the fault; nil: the node
// has no fault.
func playFault(t *testing.T, mode desired.Mode, f fault, events []source.Event, whole *state.State, on ...*kernel.Fake) {
	k := &faulted{Fake: faultKernel(), fault: f}
	if len(on) > 0 {
		k.Fake = on[0]
	}
	if f.reads != nil {
		k.reader = errFault
	}
	c := faultConfig(mode)
	var h *health.Health
	c.Observe = func(r *report.Round) { h.Observe(r) }
	p := proxier.New(k, c)
	h = health.New(health.Config{Families: state.Families(false), SyncPeriod: 30 * time.Second, Backlog: p.Backlog, Stuck: p.Stuck})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	defer func() { cancel(); <-done }()
	p.Events(events[:len(events)/2])
	p.Synced()
	for _, e := range events[len(events)/2:] {
		time.Sleep(20 * time.Second)
		p.Events([]source.Event{e})
		expectAlive(t, h)
	}
	for range 10 {
		time.Sleep(time.Minute)
		expectAlive(t, h)
	}
	synctest.Wait()
	if whole == nil {
		return
	}
	excused := func(id state.ID) bool { return f.writes != nil && rests(&c.Desired, id, f.writes) }
	for id, spec := range whole.All() {
		if have, ok := k.State.Get(id); (!ok || !have.Equal(spec)) && !excused(id) {
			t.Errorf("%s is missing or wrong, which does not rest on the fault", id)
		}
	}
	for id := range k.State.All() {
		if !whole.Has(id) && id.Kind != state.Setting && !excused(id) && !carries(&c.Desired, k.State, id, f.writes) {
			t.Errorf("%s stays, which does not rest on the fault", id)
		}
	}
	if ready, why := h.Ready(); !ready && f.alone && !basic(f, whole) {
		t.Errorf("not ready: %s", why)
	}
}

func expectAlive(t *testing.T, h *health.Health) {
	t.Helper()
	for _, path := range []string{"/livez", "/healthz"} {
		w := httptest.NewRecorder()
		if h.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil)); w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// rests reports whether an object, or one that it needs, cannot be written.
func rests(c *desired.Config, id state.ID, writes func(state.ID) error) bool {
	if writes(id) != nil {
		return true
	}
	return slices.ContainsFunc(c.Needs(nil, id), func(need state.ID) bool { return rests(c, need, writes) })
}

// carries reports whether an object must stay since an object that needs it cannot be deleted.
func carries(c *desired.Config, s *state.State, id state.ID, writes func(state.ID) error) bool {
	if writes == nil {
		return false
	}
	for other := range s.All() {
		if slices.Contains(c.Needs(nil, other), id) && (writes(other) != nil || carries(c, s, other, writes)) {
			return true
		}
	}
	return false
}

// basic reports whether all Services need the faulty object.
func basic(f fault, whole *state.State) bool {
	for id := range whole.All() {
		switch id.Kind {
		case state.Link, state.Set, state.Rules, state.Route:
			if f.writes(id) != nil {
				return true
			}
		}
	}
	return false
}
