package proxier

import (
	"slices"
	"sync"
	"time"

	"kube-ipvs/proxier/checks"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// inbox takes what sources and watchers have to say, from any goroutine, until
// the loop has time for it.
type inbox struct {
	mu      sync.Mutex
	mail    mail
	working mail          // what was taken and is not done; its changes are counted only
	poke    chan struct{} // holds one: there is mail
}

// mail is what came in since the loop last looked.
type mail struct {
	events   []source.Event
	changes  report.Changes   // in events
	since    time.Time        // when the first of events came in
	problems *[]model.Problem // of the source, if it said anything
	loaded   bool
	synced   bool
	config   *Config
	facts    bool // links, addresses or default routes have changed
	audit    bool // a full audit is wanted now, and facts read anew
	rules    bool // rules of ours have changed; the loop itself may have done it
	suspects []state.ID
	more     bool              // suspects are not all
	read     []*checks.Reading // that have come back
}

// mostSuspects bounds mail.suspects.
const mostSuspects = 64

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
	in.mail = mail{}
	in.working.changes.Services += m.changes.Services
	in.working.changes.Slices += m.changes.Slices
	if in.working.since.IsZero() {
		in.working.since = m.since
	}
	return m
}

// waits reports whether changes wait. Hints do not count: while much is written
// for the first time, the kernel tells of each object.
func (in *inbox) waits() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.mail.events) > 0
}

// done says that what was taken has been acted upon.
func (in *inbox) done() {
	in.mu.Lock()
	in.working = mail{}
	in.mu.Unlock()
}

// Backlog returns what waits now. Safe from any goroutine.
func (p *Proxier) Backlog() report.Backlog {
	in := p.inbox
	in.mu.Lock()
	defer in.mu.Unlock()
	b := report.Backlog{Changes: in.working.changes, Since: in.working.since}
	b.Services += in.mail.changes.Services
	b.Slices += in.mail.changes.Slices
	if b.Since.IsZero() {
		b.Since = in.mail.since
	}
	return b
}

// Events is part of source.Sink.
func (p *Proxier) Events(e []source.Event) {
	var c report.Changes
	for i := range e {
		switch {
		case e[i].Service != nil:
			c.Services++
		case e[i].Slice != nil:
			c.Slices++
		}
	}
	p.inbox.put(func(m *mail) {
		m.events = append(m.events, e...)
		m.changes.Services += c.Services
		m.changes.Slices += c.Slices
		if m.since.IsZero() && len(e) > 0 {
			m.since = time.Now()
		}
	})
}

// Loaded is part of source.Sink.
func (p *Proxier) Loaded() { p.inbox.put(func(m *mail) { m.loaded = true }) }

// Synced is part of source.Sink.
func (p *Proxier) Synced() { p.inbox.put(func(m *mail) { m.loaded, m.synced = true, true }) }

// Problems is part of source.Sink.
func (p *Proxier) Problems(ps []model.Problem) {
	p.inbox.put(func(m *mail) { m.problems = &ps })
}

// Configure has what is programmed follow another configuration. Of Desired, that
// may be another scheduler, PodCIDRs, NodePortAddresses, MasqueradeAll, MaxFrontends,
// NoExternalIPs and other timeouts; beside it other periods and PrimaryNodePorts. All
// else stays as it was given to New. Safe from any goroutine.
func (p *Proxier) Configure(c Config) { p.inbox.put(func(m *mail) { m.config = &c }) }

// FactsChanged says that the node's links, addresses or default routes may have
// changed. Safe from any goroutine.
func (p *Proxier) FactsChanged() { p.inbox.put(func(m *mail) { m.facts = true }) }

// Suspect says that the objects were deleted or changed, and with more
// that there were others, too. What the loop itself has deleted, and what it
// knows nothing of, is not minded. Safe from any goroutine.
func (p *Proxier) Suspect(objects []state.ID, more bool) {
	p.inbox.put(func(m *mail) {
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

// RulesChanged says that another program, or the loop itself, has changed rules
// of ours. Safe from any goroutine.
func (p *Proxier) RulesChanged() { p.inbox.put(func(m *mail) { m.rules = true }) }

// Audit has all facts read anew and everything compared with the kernel, as soon
// as the loop has time. Safe from any goroutine.
func (p *Proxier) Audit() { p.inbox.put(func(m *mail) { m.audit = true }) }

var _ source.Sink = (*Proxier)(nil)
