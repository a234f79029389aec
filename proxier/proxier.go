package proxier

import (
	"net/netip"
	"sync/atomic"
	"time"

	"kube-ipvs/proxier/checks"
	"kube-ipvs/proxier/cluster"
	"kube-ipvs/proxier/journal"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/ledger"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
	"kube-ipvs/proxier/sweeper"
)

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

// Backlog returns what waits now. Safe from any goroutine.
func (p *Proxier) Backlog() report.Backlog { return p.inbox.backlog() }

// Stuck returns for how long the loop has been at one piece of its work: a
// message to the kernel, or a process that has a deadline. It is 0 while the loop
// has nothing to do. Safe from any goroutine.
func (p *Proxier) Stuck() time.Duration { return p.pulse.stuck() }
