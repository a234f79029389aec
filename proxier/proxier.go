package proxier

import (
	"sync/atomic"
	"time"

	"kube-ipvs/proxier/checks"
	"kube-ipvs/proxier/cluster"
	"kube-ipvs/proxier/eject"
	"kube-ipvs/proxier/journal"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/ledger"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/sweeper"
)

// Proxier is the loop. Run is its one goroutine and the kernel's only writer. The other
// methods hand values to Run or read its last results.
type Proxier struct {
	*inbox
	config  Config           // its Desired is that of the start: see cluster.Desired
	cluster *cluster.Cluster // the desired objects
	ledger  *ledger.Ledger   // the known objects of the kernel, and the failed writes
	kernel  kernel.Kernel
	checks  *checks.Checks   // audits and looks beside the loop
	sweeper *sweeper.Sweeper // deletes conntrack entries beside the loop
	ejects  *eject.Watch     // finds dead endpoints beside the loop
	journal *journal.Journal // the log lines of rounds, and all problems
	last    atomic.Pointer[report.Round]
	step    atomic.Pointer[time.Time] // when the current step of the loop began; nil: the loop is idle
}

// New returns a Proxier. It reads and writes nothing before Run.
func New(k kernel.Kernel, c Config) *Proxier {
	if c.Turn == (ledger.Turn{}) {
		c.Turn = usualTurn
	}
	c.Large = c.Turn.Writes
	p := &Proxier{config: c, kernel: k, inbox: newInbox(), journal: journal.New(c.Log)}
	p.ejects = eject.New(eject.Config{Flows: k.Flows, Dial: c.Dial, Log: c.Log, Changed: p.inbox.ejects})
	c.Config.Ejects = p.ejects
	p.cluster = cluster.New(k, c.Log, c.Config)
	p.sweeper = sweeper.New(k, c.Log, c.ObserveSweep)
	p.ledger = ledger.New(ledger.Config{
		Kernel: k, Sweeper: p.sweeper, Desired: p.cluster.Desired(), DrainTimeout: c.DrainTimeout, Turn: c.Turn,
		Between: p.between, Log: c.Log,
	})
	p.checks = checks.New(k, c.Log, func(r *checks.Reading) { p.inbox.put(func(m *mail) { m.read = append(m.read, r) }) })
	return p
}

// between says that a stage of a plan is written, and reports whether changes wait.
func (p *Proxier) between() bool {
	p.beat()
	return p.inbox.waits()
}

// Last returns the last round, or nil before the first. Callers must not change it. Safe
// from any goroutine.
func (p *Proxier) Last() *report.Round { return p.last.Load() }

// beat says that the loop has done one step.
func (p *Proxier) beat() {
	now := time.Now()
	p.step.Store(&now)
}

// Stuck returns how long the current step of the loop has taken: one stage of a plan, or
// one process. It is 0 while the loop is idle. Safe from any goroutine.
func (p *Proxier) Stuck() time.Duration {
	began := p.step.Load()
	if began == nil {
		return 0
	}
	return time.Since(*began)
}

var _ source.Sink = (*Proxier)(nil)
