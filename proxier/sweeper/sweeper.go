// Package sweeper deletes the conntrack entries that lead clients to a wrong place. A search
// takes the longer, the more entries conntrack has. So the loop only queues frontends, and a
// goroutine beside it searches for their entries; see sweep.go.
//
// UDP has no connection that ends, and conntrack leads a client that never pauses to the same
// endpoint for ever. The rule is that of kube-proxy's reconciler (its package conntrack, from
// 1.32 on), but by address and port. The endpoints of a Service port that still serve, ready or
// terminating, may answer the flows to its frontends, on any node and under any policy and
// hint. The Sweeper deletes all other flows to these frontends: those to removed endpoints, and
// those from before the Service. The rule is about the present state, so it does not matter
// when the deletion happens: it keeps a flow that has begun since, and one whose endpoint has
// come back. To be right, the Sweeper learns of a new endpoint before IPVS does, and searches
// for flows to a removed endpoint after IPVS has dropped it.
//
// TCP and SCTP clients repeat their first packet while no answer comes. Its entry without NAT
// would keep the next packets from a frontend that exists now. The node refuses or translates
// each packet to a published frontend, so that an entry with neither NAT nor an answer is
// always older than the frontend. If the frontend is removed, the Sweeper drops it from the
// queue, since packets to its address are no longer for kube-ipvs.
//
// A refused packet gets no NAT, and no entry either. But table nat may see the frontend as
// refused when table filter does not any more, or a rule of another program may accept the
// packet first. A UDP client that never pauses would keep that entry. So the Sweeper searches
// for the entries of a frontend when it has an endpoint again.
package sweeper

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Sweeper knows the endpoints that may answer at each UDP frontend, and the queue of frontends
// whose entries it has to search for. One goroutine, that of the loop, calls its methods, and
// another one calls Run. Any goroutine may call Sum.
type Sweeper struct {
	kernel  kernel.Kernel // only for its Flows
	log     *slog.Logger
	observe func(*report.Sweep) // may be nil

	poke chan struct{} // holds one: the queue has work

	mu       sync.Mutex
	answers  map[state.ID]state.SpecRef // the desired endpoints of each UDP frontend
	ports    nodePorts                  // the node ports in answers
	complete bool                       // answers has all frontends
	queued   map[state.ID]uint64        // the queue: frontends, with the number of their last queueing
	since    time.Time                  // when the first of queued came; zero: none
	again    bool                       // all must be queued once more, when the writes of the first round are done
	all      [2]uint64                  // the number of the last queueing of all UDP frontends, IPv4 and IPv6; 0: they are not queued
	number   uint64                     // counts queueings
	givenUp  uint64
	failing  error     // of the last sweep
	failed   time.Time // the first failure since the last success; zero: sweeps succeed

	// Only the loop uses these.
	lost map[state.ID]bool // frontends that have lost an endpoint; true: queued already, while a plan was left off
	late map[state.ID]bool // UDP real servers whose deletion failed
}

// nodePorts are the Flow IDs of node ports.
type nodePorts map[nodePort][]state.ID

type nodePort struct {
	family state.Family
	port   uint16
}

func (n nodePorts) add(id state.ID) {
	if id.Network().IsValid() {
		at := nodePort{id.Family(), id.Port}
		n[at] = append(n[at], id)
	}
}

func (n nodePorts) remove(id state.ID) {
	if !id.Network().IsValid() {
		return
	}
	at := nodePort{id.Family(), id.Port}
	if n[at] = slices.DeleteFunc(n[at], func(o state.ID) bool { return o == id }); len(n[at]) == 0 {
		delete(n, at)
	}
}

// mostQueued is the queue's length from which on frontends of deleted Services are left out,
// since a tenant might create and delete Services all the time. Their flows end when the
// clients pause.
const mostQueued = 10_000

// New returns a Sweeper of a kernel's conntrack entries. Run calls observe, unless it is nil,
// after each sweep; observe must return at once.
func New(k kernel.Kernel, log *slog.Logger, observe func(*report.Sweep)) *Sweeper {
	return &Sweeper{
		kernel: k, log: log, observe: observe,
		poke: make(chan struct{}, 1), answers: map[state.ID]state.SpecRef{}, ports: nodePorts{},
		queued: map[state.ID]uint64{}, lost: map[state.ID]bool{}, late: map[state.ID]bool{},
	}
}

// Expect takes the endpoints that may answer from now on, before the loop writes them: of the
// frontends in some and, if all is not nil, of all frontends. It notes the frontends that lose
// an endpoint. Do not call it before the source has delivered everything, since a missing
// endpoint means nothing until then.
func (f *Sweeper) Expect(some []state.Want, all *desired.Table) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if all != nil {
		f.replace(all)
	}
	for _, want := range some {
		if want.ID.Kind != state.Flow {
			continue
		}
		was, had := f.answers[want.ID]
		if had && (!want.Present || was.Loses(want.Spec)) {
			f.lost[want.ID] = false
		}
		switch {
		case !want.Present:
			delete(f.answers, want.ID)
			f.ports.remove(want.ID)
		case !had:
			f.ports.add(want.ID)
			fallthrough
		default:
			f.answers[want.ID] = want.Spec
		}
	}
}

// replace takes the endpoints of all frontends.
func (f *Sweeper) replace(all *desired.Table) {
	had := f.answers
	f.answers, f.ports = make(map[state.ID]state.SpecRef, len(had)), nodePorts{}
	for id, spec := range all.All() { // a function value would allocate
		if id.Kind == state.Flow {
			f.answers[id] = spec
			f.ports.add(id)
		}
	}
	for id, was := range had {
		if now, still := f.answers[id]; !still || was.Loses(now) {
			f.lost[id] = false
		}
	}
	if !f.complete { // an earlier process may have left entries
		f.complete, f.again = true, true
		f.queueAll()
	}
}

// Note takes a write that succeeded, and queues the frontends that it changes.
func (f *Sweeper) Note(op state.Op) {
	if op.ID.Kind != state.Entry {
		return
	}
	id, set := op.ID.Flows(), op.ID.Set
	served := op.Verb == state.Delete && id.Proto == state.UDP && (set == state.SetReject || set == state.SetNodePortReject)
	if !set.Publishes() && !served {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case id.Proto == state.UDP:
		f.queue(id)
	case op.Verb == state.Delete:
		f.dequeue(id)
	case !id.Network().IsValid(): // at a node port the node itself has refused earlier packets
		f.queue(id)
	}
}

// Kernel has the known objects of the kernel.
type Kernel interface {
	// Has reports whether an object is in the kernel.
	Has(state.ID) bool
	// Fails reports whether the last write of an object failed.
	Fails(state.ID) bool
}

// Written takes the end of a round: its failures, the known objects of the kernel, and whether
// no plan was left off. It queues the frontends that have lost an endpoint, since IPVS sends
// no new clients to it now. If the deletion of a UDP real server failed, its frontends are not
// known when it succeeds later, and Written queues all.
func (f *Sweeper) Written(failures []report.Failure, holds Kernel, whole bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.again && whole { // until now IPVS may have sent clients to endpoints of an earlier process
		f.again = false
		f.queueAll()
	}
	if len(f.lost)+len(failures)+len(f.late) == 0 {
		return
	}
	for id, looked := range f.lost {
		if !looked || whole {
			f.queue(id)
		}
		f.lost[id] = true
	}
	if whole {
		clear(f.lost)
	}
	for _, e := range failures {
		if id := e.Op.ID; id.Kind == state.RealServer && id.Proto == state.UDP && e.Op.Verb == state.Delete {
			f.late[id] = true
		}
	}
	for id := range f.late {
		if holds.Fails(id) {
			continue
		}
		delete(f.late, id)
		if !holds.Has(id) {
			f.queueAll()
		}
	}
}

// wake wakes Run.
func (f *Sweeper) wake() {
	select {
	case f.poke <- struct{}{}:
	default:
	}
}

func (f *Sweeper) queue(id state.ID) {
	_, waits := f.queued[id]
	if _, served := f.answers[id]; !waits && !served && id.Proto == state.UDP && len(f.queued) >= mostQueued {
		f.givenUp++
		return
	}
	if len(f.queued) == 0 {
		f.since = time.Now()
	}
	f.number++
	f.queued[id] = f.number
	f.wake()
}

func (f *Sweeper) dequeue(id state.ID) {
	if delete(f.queued, id); len(f.queued) == 0 {
		f.since = time.Time{}
	}
}

func (f *Sweeper) queueAll() {
	f.number++
	f.all = [2]uint64{f.number, f.number}
	f.wake()
}

// Sum returns the state of the queue and of the last sweep.
func (f *Sweeper) Sum() report.Flows {
	f.mu.Lock()
	defer f.mu.Unlock()
	return report.Flows{Waiting: len(f.queued), Since: f.since, GivenUp: f.givenUp, Failing: f.failing, Failed: f.failed}
}
