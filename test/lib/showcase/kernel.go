package showcase

import (
	"context"
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
)

// Kernel is a kernel.Fake that can be read while the loop writes, as the real one can,
// and that counts reads. It also is a status.Kernel.
type Kernel struct {
	mu     sync.Mutex
	fake   *kernel.Fake
	reals  map[state.ID]map[state.ID]bool // by virtual server
	refuse map[state.ID]error             // writes of these fail
	extra  map[state.ID]state.SpecRef     // entries that Frontends tells, too
	fail   error                          // returned by reads
	count  Reads
	idle   bool
	holds  chan struct{} // not nil: Servers waits for it to be closed
}

// Reads are the reads of a Kernel as a status.Kernel.
type Reads struct {
	Frontends, Servers, All int // calls
	Asked                   int // virtual servers that were asked for
}

func newKernel() *Kernel {
	k := &Kernel{fake: kernel.NewFake(), reals: map[state.ID]map[state.ID]bool{}, refuse: map[state.ID]error{}, extra: map[state.ID]state.SpecRef{}}
	k.fake.NodeFacts = state.Facts{NodeIPs: []netip.Addr{netip.MustParseAddr("192.168.50.1"), netip.MustParseAddr("fd50::1")}, MTU: 1500}
	k.fake.OnOp = k.follow
	return k
}

// Flows is part of kernel.Kernel.
func (k *Kernel) Flows(ctx context.Context) (kernel.Flows, error) { return k.fake.Flows(ctx) }

// follow keeps the real servers of each virtual server together.
func (k *Kernel) follow(op state.Op) {
	switch {
	case op.ID.Kind == state.VirtualServer && op.Verb == state.Delete:
		delete(k.reals, op.ID)
	case op.ID.Kind != state.RealServer:
	case op.Verb == state.Delete:
		delete(k.reals[op.ID.Server()], op.ID)
	default:
		server := op.ID.Server()
		if k.reals[server] == nil {
			k.reals[server] = map[state.ID]bool{}
		}
		k.reals[server][op.ID] = true
	}
}

// Tamper changes the kernel as another program does.
func (k *Kernel) Tamper(change func(*state.State)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(k.fake.State)
	clear(k.reals)
	for id, spec := range k.fake.State.All() {
		k.follow(state.Op{Verb: state.Add, ID: id, Spec: spec})
	}
}

// Hand adds an entry to those of Frontends, past the loop.
func (k *Kernel) Hand(id state.ID, comment string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.extra[id] = state.Intern(state.Spec{Text: comment})
}

// Refuse makes writes of an object fail from now on; nil: not any more.
func (k *Kernel) Refuse(id state.ID, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refuse[id] = err; err == nil {
		delete(k.refuse, id)
	}
}

// Break makes reading fail, for the page and for the loop; nil: not any more.
func (k *Kernel) Break(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail, k.fake.ReadErr = err, err
}

// Idle leaves the real servers without connections.
func (k *Kernel) Idle() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.idle = true
}

// Hold makes Servers wait until the returned function is called.
func (k *Kernel) Hold() (release func()) {
	c := make(chan struct{})
	k.mu.Lock()
	defer k.mu.Unlock()
	k.holds = c
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.holds = nil
		close(c)
	}
}

// Reads returns the reads since the last call.
func (k *Kernel) Reads() Reads {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.count
	k.count = Reads{}
	return c
}

// Frontends is part of status.Kernel.
func (k *Kernel) Frontends(_ context.Context, note func(state.ID, state.SpecRef)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.count.Frontends++
	for id, spec := range k.fake.State.All() {
		if id.Kind == state.Entry {
			note(id, spec)
		}
	}
	for id, spec := range k.extra {
		note(id, spec)
	}
	return k.fail
}

// Servers is part of status.Kernel.
func (k *Kernel) Servers(ctx context.Context, ids []state.ID, note func(state.ID, state.SpecRef, uint32, uint32)) error {
	k.mu.Lock()
	holds := k.holds
	k.count.Servers++
	k.count.Asked += len(ids)
	k.mu.Unlock()
	if holds != nil {
		select {
		case <-holds:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range ids {
		spec, ok := k.fake.State.Get(id)
		if !ok {
			continue
		}
		note(id, spec, 0, 0)
		k.each(id, note)
	}
	return k.fail
}

// EachReal is part of status.Kernel.
func (k *Kernel) EachReal(_ context.Context, note func(state.ID, uint32, uint32)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.count.All++
	for server := range k.reals {
		k.each(server, func(real state.ID, _ state.SpecRef, active, inactive uint32) { note(real, active, inactive) })
	}
	return k.fail
}

var seed = maphash.MakeSeed()

// each calls note with the real servers of a virtual server. The caller has the lock.
func (k *Kernel) each(server state.ID, note func(real state.ID, spec state.SpecRef, active, inactive uint32)) {
	most := uint32(1)
	for real := range k.reals[server] {
		spec, _ := k.fake.State.Get(real)
		most = max(most, spec.Value().Weight)
	}
	for real := range k.reals[server] {
		spec, _ := k.fake.State.Get(real)
		active, inactive := connections(real, spec.Value().Weight, most)
		if k.idle {
			active, inactive = 0, 0
		}
		note(real, spec, active, inactive)
	}
}

// connections makes up how busy a real server is, by its weight and the greatest one of its
// virtual server.
func connections(real state.ID, weight, most uint32) (active, inactive uint32) {
	h := maphash.Comparable(seed, real)
	a, b := uint32(h%8), uint32(h>>32)%80
	if weight == 0 {
		return a + 1, b
	}
	return (30+a)*weight/most + 1, (300 + b) * weight / most
}

// The rest is part of kernel.Kernel.

// Facts is part of kernel.Kernel.
func (k *Kernel) Facts(ctx context.Context) (state.Facts, error) { return k.fake.Facts(ctx) }

// Expect is part of kernel.Kernel.
func (k *Kernel) Expect([2]string) {}

// Read is part of kernel.Kernel.
func (k *Kernel) Read(ctx context.Context) (*state.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fake.Read(ctx)
}

// Reader is part of kernel.Kernel.
func (k *Kernel) Reader(ctx context.Context) (kernel.Reader, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fake.Reader(ctx)
}

// Apply is part of kernel.Kernel.
func (k *Kernel) Apply(ctx context.Context, plan state.Plan) []error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.refuse) == 0 {
		return k.fake.Apply(ctx, plan)
	}
	errs := make([]error, len(plan))
	failed := false
	for i := range plan {
		if err := k.refuse[plan[i].ID]; err != nil {
			errs[i] = fmt.Errorf("%w: %w", kernel.ErrForeign, err)
		} else if err := k.fake.Apply(ctx, plan[i:i+1]); err != nil {
			errs[i] = err[0]
		}
		failed = failed || errs[i] != nil
	}
	if !failed {
		return nil
	}
	return errs
}

// Connections is part of kernel.Kernel.
func (k *Kernel) Connections(_ context.Context, reals []state.ID) (map[state.ID]uint32, error) {
	out := map[state.ID]uint32{}
	for _, id := range reals {
		active, inactive := connections(id, 0, 1) // asked for those that drain
		out[id] = active + inactive
	}
	return out, nil
}

// Loads is part of kernel.Kernel.
func (k *Kernel) Loads(ctx context.Context, server state.ID) ([]state.Load, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fake.Loads(ctx, server)
}

// Stats is part of kernel.Kernel.
func (k *Kernel) Stats() kernel.Stats {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fake.Stats()
}

// ProbeScheduler is part of kernel.Kernel.
func (k *Kernel) ProbeScheduler(ctx context.Context, name string) error {
	return k.fake.ProbeScheduler(ctx, name)
}
