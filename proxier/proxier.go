package proxier

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"kube-ipvs/proxier/checks"
	"kube-ipvs/proxier/cluster"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/journal"
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
	MostAddresses    int                 // of a family that a start adds to kube-ipvs0; 0: as many as the kernel takes in good time
	AuditPeriod      time.Duration       // between full comparisons with the kernel, at most
	CanaryPeriod     time.Duration       // between looks at what costs little to look at, and between audits at least; 0: no looks, and audits each AuditPeriod
	DrainTimeout     time.Duration       // that a removed endpoint's connections may go on, in direct mode
	MinSyncPeriod    time.Duration       // between the end of a round and the next that changes cause
	Turn             Turn                // of a plan, while changes wait; zero: as usual
	Names            bool                // keep what Served and PodOf tell
	Observe          func(*report.Round) // called by the loop after each round; must return at once
	ObserveSweep     func(*report.Sweep) // called beside the loop after each Sweep; must return at once
	Log              *slog.Logger
}

// Proxier is the loop. Run is its one goroutine and the kernel's one writer;
// all other methods hand it something or read what it last did.
type Proxier struct {
	config  Config // its Desired is that of the start: see cluster.Desired
	inbox   *inbox
	cluster *cluster.Cluster // what is wanted
	ledger  *ledger.Ledger   // what is there, and what stands between
	kernel  kernel.Kernel
	checks  *checks.Checks   // audits and looks beside the loop
	sweeper *sweeper.Sweeper // of conntrack entries, beside the loop
	board   model.Board      // what is wrong with what was asked for
	journal *journal.Journal
	last    atomic.Pointer[report.Round]
	pulse   pulse
}

// New returns a Proxier that has done nothing yet.
func New(k kernel.Kernel, c Config) *Proxier {
	if c.Turn == (Turn{}) {
		c.Turn = usualTurn
	}
	p := &Proxier{config: c, kernel: k, inbox: newInbox(), journal: journal.New(c.Log), pulse: pulse{began: time.Now()}}
	p.cluster = cluster.New(k, c.Log, cluster.Config{
		Desired: c.Desired, Zone: c.Zone, NodeCIDR: c.NodeCIDR, PrimaryNodePorts: c.PrimaryNodePorts, NodeIPs: c.NodeIPs,
		MostAddresses: c.MostAddresses, Large: c.Turn.Writes, Names: c.Names,
	})
	p.ledger = ledger.New(p.cluster.Desired(), c.DrainTimeout, p.journal.Mended)
	p.checks = checks.New(k, c.Log, func(r *checks.Reading) { p.inbox.put(func(m *mail) { m.read = append(m.read, r) }) })
	p.sweeper = sweeper.New(k, c.Log, c.ObserveSweep)
	return p
}

// Last returns what the last round did, or nil before the first. Safe from any
// goroutine; the Round must not be changed.
func (p *Proxier) Last() *report.Round { return p.last.Load() }

// Served returns what a virtual server of ours stands for, with Config.Names.
// Safe from any goroutine.
func (p *Proxier) Served(server state.ID) (report.ServedPort, bool) { return p.cluster.Served(server) }

// PodOf returns the name of the pod that is a Service's endpoint at an
// address, or nothing if that is unknown. Safe from any goroutine.
func (p *Proxier) PodOf(service model.Key, endpoint netip.Addr) string {
	return p.cluster.PodOf(service, endpoint)
}

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
		p.pulse.beat()
		p.round(whole)
		p.pulse.rest()
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
		p.config.Log.Warn("stopped while the kernel is read")
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

// nextDue returns when the loop is to wake by itself; zero: never.
func (p *Proxier) nextDue() time.Time {
	var first time.Time
	for _, at := range [...]time.Time{p.checks.Next(), p.ledger.Next(), p.cluster.Next()} {
		if !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}
