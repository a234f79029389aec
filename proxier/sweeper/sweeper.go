// Package sweeper deletes the conntrack entries that lead clients wrong. To look for
// them takes as long as conntrack has entries, so that the loop only notes which
// frontends they may be of, and a goroutine beside it looks; see sweep.go.
//
// UDP has no connection that ends, and conntrack leads a client that never pauses
// to its endpoint for ever. The rule is that of kube-proxy's reconciler (its
// package conntrack, from 1.32 on), but by address and port: flows to a frontend
// may be answered by the endpoints of its Service port that answer still, ready or
// terminating, wherever they are and whatever policies and hints say. All others to
// that frontend go: to an endpoint that has gone, or from before there was the
// Service. It is a rule about what is, not about what was done, so that nothing
// hangs on the moment of the deletion: a flow that has begun since is rightful by
// the same rule, and so is one whose endpoint has come back. For that the Sweeper hears of
// an endpoint before IPVS does, while entries are looked through for one that has
// gone after IPVS has let go of it.
//
// TCP and SCTP clients repeat their first packet while no answer comes; its
// entry without NAT would keep the next ones from a frontend that is there now. A
// packet to a published frontend is refused or gets NAT, so that an entry with
// neither NAT nor an answer is older than the frontend whenever it is found. It is
// forgotten if the frontend goes: what is dialled there is not ours any more.
//
// What is refused gets no NAT, and no entry either. But table nat may still find the
// frontend refused, and table filter not any more; or a rule of others may accept the
// packet first. A UDP client that never pauses would keep that entry, so that its
// frontend is looked through when it has an endpoint again.
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

// Sweeper knows who may answer at each UDP frontend, and which frontends are to be looked
// through. One goroutine, that of the loop, tells it; Run is another, and Sum may be called
// by any.
type Sweeper struct {
	kernel  kernel.Kernel // for its Flows alone
	log     *slog.Logger
	observe func(*report.Sweep) // nil: nobody asks

	poke chan struct{} // holds one: something is queued

	mu       sync.Mutex
	answers  map[state.ID]state.SpecRef // of each UDP frontend, as desired has it
	ports    nodePorts                  // those of answers that are node ports
	complete bool                       // answers has all frontends that there are
	queued   map[state.ID]uint64        // frontends to be looked through, and the number when they last had to be
	since    time.Time                  // when the first of queued came; zero: there is none
	again    bool                       // all must be once more, when what the first round writes is written
	all      [2]uint64                  // the number when all UDP frontends last had to be, IPv4 and IPv6; 0: they need not
	number   uint64                     // counts what is queued
	givenUp  uint64
	failing  error     // of the last sweep
	failed   time.Time // when the first did since one succeeded; zero: it did

	// Of the loop alone.
	lost map[state.ID]bool // frontends that have lost an endpoint; true: they were queued while a plan was left off
	late map[state.ID]bool // UDP real servers that could not be deleted
}

// nodePorts are Flows to node ports.
type nodePorts map[nodePort][]state.ID

type nodePort struct {
	family int
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

// mostQueued is how many frontends wait at the most before those of Services that
// have gone are left out: a tenant might make and delete Services all the time.
// Their flows end when they pause.
const mostQueued = 10_000

// New returns a Sweeper of a kernel's conntrack entries. Run calls observe after each
// sweep; it may be nil, and must return at once.
func New(k kernel.Kernel, log *slog.Logger, observe func(*report.Sweep)) *Sweeper {
	return &Sweeper{
		kernel: k, log: log, observe: observe,
		poke: make(chan struct{}, 1), answers: map[state.ID]state.SpecRef{}, ports: nodePorts{},
		queued: map[state.ID]uint64{}, lost: map[state.ID]bool{}, late: map[state.ID]bool{},
	}
}

// Expect takes in who may answer from now on, before it is written, and notes the
// frontends that lose an endpoint by it: by what is wanted of some objects, and by all
// that are wanted, if all is not nil. It is not to be called before the source has
// delivered everything: that an endpoint is missing means nothing then.
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

// replace takes in who may answer anywhere.
func (f *Sweeper) replace(all *desired.Table) {
	had := f.answers
	f.answers, f.ports = make(map[state.ID]state.SpecRef, len(had)), nodePorts{}
	for id, spec := range all.All() { // by a function that is handed on it would allocate
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
	if !f.complete { // what an earlier process did not get to
		f.complete, f.again = true, true
		f.queueAll()
	}
}

// Note takes in a write that succeeded.
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
	case !id.Network().IsValid(): // at a node port the node itself has refused what came too early
		f.queue(id)
	}
}

// Kernel is what the kernel is known to hold.
type Kernel interface {
	// Has reports whether an object is there.
	Has(state.ID) bool
	// Fails reports whether the last write of an object has failed.
	Fails(state.ID) bool
}

// Written takes in the end of a round: what failed in it, what the kernel holds, and
// whether all else was written and no plan was left off. IPVS has let go of those who
// were lost then, so that no new client comes to them. If it could not be told to, it is
// not known any more whose they were when it has.
func (f *Sweeper) Written(failures []report.Failure, holds Kernel, whole bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.again && whole { // until now IPVS may have sent clients to those whom an earlier process has left
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

// wake says that something is queued.
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

// Sum returns how far it is.
func (f *Sweeper) Sum() report.Flows {
	f.mu.Lock()
	defer f.mu.Unlock()
	return report.Flows{Waiting: len(f.queued), Since: f.since, GivenUp: f.givenUp, Failing: f.failing, Failed: f.failed}
}
