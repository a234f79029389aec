package proxier

import (
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

// backlog returns what waits now.
func (in *inbox) backlog() report.Backlog {
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
