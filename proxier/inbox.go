package proxier

import (
	"slices"
	"sync"

	"kube-ipvs/proxier/checks"
	"kube-ipvs/proxier/cluster"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// inbox collects what sources and watchers tell, from any goroutine, until the loop takes it.
// Its exported methods are methods of Proxier.
type inbox struct {
	mu      sync.Mutex
	mail    mail
	working report.Backlog // the changes that the loop has taken and not programmed
	poke    chan struct{}  // holds one: there is mail
}

// mail is the content of the inbox.
type mail struct {
	news     cluster.News
	config   *Config
	audit    bool // Audit was called
	rules    bool // RulesChanged was called
	suspects []state.ID
	more     bool              // there are more suspects
	read     []*checks.Reading // readings that have ended
}

func newInbox() *inbox { return &inbox{poke: make(chan struct{}, 1)} }

func (in *inbox) put(f func(*mail)) {
	in.mu.Lock()
	f(&in.mail)
	in.mu.Unlock()
	select {
	case in.poke <- struct{}{}:
	default:
	}
}

func (in *inbox) take() mail {
	in.mu.Lock()
	defer in.mu.Unlock()
	m := in.mail
	in.working, in.mail = in.working.Plus(m.news.Backlog), mail{}
	return m
}

// waits reports whether changes wait. Hints do not count: during a first write the kernel
// reports each object.
func (in *inbox) waits() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.mail.news.Events)+len(in.mail.news.Ejects) > 0
}

// done says that the loop has programmed all changes that it took.
func (in *inbox) done() {
	in.mu.Lock()
	in.working = report.Backlog{}
	in.mu.Unlock()
}

// Backlog returns the changes that are not programmed yet. Safe from any goroutine.
func (in *inbox) Backlog() report.Backlog {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.working.Plus(in.mail.news.Backlog)
}

// Events is part of source.Sink.
func (in *inbox) Events(e []source.Event) { in.put(func(m *mail) { m.news.Add(e) }) }

// Loaded is part of source.Sink.
func (in *inbox) Loaded() { in.put(func(m *mail) { m.news.Loaded = true }) }

// ejects says that the dead endpoints of a Service have changed.
func (in *inbox) ejects(key model.Key) {
	in.put(func(m *mail) { m.news.Ejects = append(m.news.Ejects, key) })
}

// Synced is part of source.Sink.
func (in *inbox) Synced() { in.put(func(m *mail) { m.news.Loaded, m.news.Synced = true, true }) }

// Problems is part of source.Sink.
func (in *inbox) Problems(ps []model.Problem) {
	in.put(func(m *mail) { m.news.Problems = &ps })
}

// Configure makes the loop follow another configuration: the periods, PrimaryNodePorts and,
// in Desired, the scheduler, PodCIDRs, NodePortAddresses, MasqueradeAll, MaxFrontends,
// NoExternalIPs and timeouts. All other settings stay as New got them. Safe from any
// goroutine.
func (in *inbox) Configure(c Config) { in.put(func(m *mail) { m.config = &c }) }

// FactsChanged says that the node's links, addresses or default routes may have
// changed. Safe from any goroutine.
func (in *inbox) FactsChanged() { in.put(func(m *mail) { m.news.Facts = true }) }

// mostSuspects is the longest mail.suspects.
const mostSuspects = 64

// Suspect says that the kernel reported a deletion or change of objects, and of others with
// more. The loop ignores objects that it has deleted itself or does not know. Safe from any
// goroutine.
func (in *inbox) Suspect(objects []state.ID, more bool) {
	in.put(func(m *mail) {
		m.more = m.more || more
		for _, id := range objects {
			if len(m.suspects) == mostSuspects {
				m.more = true
				return
			}
			if !slices.Contains(m.suspects, id) {
				m.suspects = append(m.suspects, id)
			}
		}
	})
}

// RulesChanged says that the rules of kube-ipvs have changed; the loop itself may have done
// it. Safe from any goroutine.
func (in *inbox) RulesChanged() { in.put(func(m *mail) { m.rules = true }) }

// Audit makes the loop read all facts anew, retry failed writes, and start an audit, as soon
// as it has time. Safe from any goroutine.
func (in *inbox) Audit() { in.put(func(m *mail) { m.audit = true }) }
