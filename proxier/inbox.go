package proxier

import (
	"sync"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/source"
)

// inbox takes what sources and watchers have to say, from any goroutine, until
// the loop has time for it.
type inbox struct {
	mu   sync.Mutex
	mail mail
	poke chan struct{} // holds one: there is mail
}

// mail is what came in since the loop last looked.
type mail struct {
	events   []source.Event
	problems *[]model.Problem // of the source, if it said anything
	loaded   bool
	synced   bool
	facts    bool // links or addresses have changed
	audit    bool // somebody wants a full audit now
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
	in.mail = mail{}
	return m
}

// Events is part of source.Sink.
func (p *Proxier) Events(e []source.Event) {
	p.inbox.put(func(m *mail) { m.events = append(m.events, e...) })
}

// Loaded is part of source.Sink.
func (p *Proxier) Loaded() { p.inbox.put(func(m *mail) { m.loaded = true }) }

// Synced is part of source.Sink.
func (p *Proxier) Synced() { p.inbox.put(func(m *mail) { m.loaded, m.synced = true, true }) }

// Problems is part of source.Sink.
func (p *Proxier) Problems(ps []model.Problem) {
	p.inbox.put(func(m *mail) { m.problems = &ps })
}

// FactsChanged says that the node's links or addresses may have changed. Safe
// from any goroutine.
func (p *Proxier) FactsChanged() { p.inbox.put(func(m *mail) { m.facts = true }) }

// Audit asks for a full audit as soon as the loop has time. Safe from any
// goroutine.
func (p *Proxier) Audit() { p.inbox.put(func(m *mail) { m.audit = true }) }

var _ source.Sink = (*Proxier)(nil)
