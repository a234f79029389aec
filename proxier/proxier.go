package proxier

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"kube-ipvs/proxier/checks"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/ledger"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
	"kube-ipvs/proxier/sweeper"
)

// Config is what a Proxier must be told. Desired, AuditPeriod, DrainTimeout
// and Log are needed.
type Config struct {
	Desired          desired.Config
	Zone             string              // of the node, for topology hints; empty: the Node object says it
	NodeCIDR         bool                // the source addresses of pods are the podCIDRs of the Node object
	PrimaryNodePorts bool                // node ports are served on the node's primary addresses, beside those of Desired
	NodeIPs          []netip.Addr        // of the node, as the configuration says; they are primary before those of the Node object
	AuditPeriod      time.Duration       // between full comparisons with the kernel, at most
	CanaryPeriod     time.Duration       // between looks at what costs little to look at, and between audits at least; 0: no looks, and audits each AuditPeriod
	DrainTimeout     time.Duration       // that a removed endpoint's connections may go on, in direct mode
	MinSyncPeriod    time.Duration       // between the end of a round and the next that changes cause
	Names            bool                // keep what Served and PodOf tell
	Observe          func(*report.Round) // called by the loop after each round; must return at once
	ObserveSweep     func(*report.Sweep) // called beside the loop after each Sweep; must return at once
	Log              *slog.Logger
}

// factsInterval is the least time between readings of the node's addresses.
// Each costs a list of all of them, and each pod that starts is a reason.
const factsInterval = 2 * time.Second

// Proxier is the loop. Run is its one goroutine and the kernel's one writer;
// all other methods hand it something or read what it last did.
type Proxier struct {
	config  Config
	kernel  kernel.Kernel
	log     *slog.Logger
	inbox   *inbox
	last    atomic.Pointer[report.Round]
	sweeper *sweeper.Sweeper

	// Of Run alone.
	model      *model.Model
	table      *desired.Table
	checks     *checks.Checks
	loaded     bool           // the source has delivered what it could
	bound      bool           // bind has decided
	routes     bool           // and that ClusterIPs are routes alone
	synced     bool           // the source has delivered everything: absence is a fact
	base       desired.Config // as configured; in config.Desired it is what the node and its Node object make of it
	rebased    bool           // base is another, and nothing has been rendered by it
	facts      state.Facts
	factsAt    time.Time        // when to read the facts again; zero: nothing hints at a change
	factsRead  time.Time        // when they were read
	schedulers map[string]error // what probing said of those of state.Schedulers that Services asked for
	ledger     *ledger.Ledger
	turn       turn
	sources    []model.Problem
	board      model.Board // what is wrong with what was asked for
	teller     teller
	node       nodeObject
	tallies    *tallies
	names      *names
	triggers   []time.Time // of changes taken and not programmed yet
	began      time.Time
	abortedAt  time.Time // start of the first of the aborted rounds that go on; zero: the last was not aborted
	pulse      pulse
	ready      bool // everything that was there at the start has been programmed
	rounds     uint64

	mostAddresses int
}

// New returns a Proxier that has done nothing yet.
func New(k kernel.Kernel, c Config) *Proxier {
	p := &Proxier{
		config: c, kernel: k, log: c.Log, inbox: newInbox(), sweeper: sweeper.New(k, c.Log, c.ObserveSweep),
		model:      model.New(model.Node{Name: c.Desired.NodeName, Zone: c.Zone}),
		schedulers: map[string]error{},
		tallies:    newTallies(), names: newNames(c.Names), began: time.Now(), pulse: pulse{began: time.Now()}, turn: usualTurn, mostAddresses: mostAddresses,
	}
	p.model.Reserve(p.config.Desired.Reserved)
	p.config.Desired.Missing = func(name string) error { return p.schedulers[name] }
	p.base = p.config.Desired
	p.ledger = ledger.New(&p.config.Desired, c.DrainTimeout, p.mended)
	p.checks = checks.New(k, c.Log, func(r *checks.Reading) { p.inbox.put(func(m *mail) { m.read = append(m.read, r) }) })
	return p
}

// Last returns what the last round did, or nil before the first. Safe from any
// goroutine; the Round must not be changed.
func (p *Proxier) Last() *report.Round { return p.last.Load() }

const (
	// endGrace is how long the round under way may go on when Run is to end: less than
	// the 30 seconds that Kubernetes gives a pod to end.
	endGrace = 5 * time.Second
	// partingTime is how long Run waits for what goes on beside it and was told to end.
	partingTime = 2 * time.Second
)

// Run programs the kernel until ctx ends, and then leaves it as it is. The round
// under way is finished, but not for longer than endGrace.
func (p *Proxier) Run(ctx context.Context) {
	// A round must not be cut in the middle: its last writes publish what its
	// first ones made. But a process that hangs must not keep Run from ending.
	whole, cut := context.WithCancel(context.WithoutCancel(ctx))
	var sweeps sync.WaitGroup
	defer p.part(&sweeps)
	defer cut()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(endGrace, cut) })
	defer stop()
	sweeps.Go(func() { p.sweeper.Run(ctx) })
	for ctx.Err() == nil {
		p.beat()
		p.round(whole)
		p.rest()
		pause(ctx, p.config.MinSyncPeriod)
		p.wait(ctx)
	}
}

// part waits for what goes on beside Run, and not for what is stuck.
func (p *Proxier) part(sweeps *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		sweeps.Wait()
		p.checks.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(partingTime):
		p.log.Warn("stopped while the kernel is read")
	}
}

// wait returns when there is something to do.
func (p *Proxier) wait(ctx context.Context) {
	var due <-chan time.Time
	if at := p.nextDue(); !at.IsZero() {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-p.inbox.poke:
	case <-due:
	}
}

// pause returns after a while, or when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (p *Proxier) nextDue() time.Time {
	var first time.Time
	for _, at := range [...]time.Time{p.checks.Next(), p.ledger.Next(), p.factsAt} {
		if !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// due reports whether the moment at has come.
func due(at time.Time) bool { return !at.IsZero() && !time.Now().Before(at) }
