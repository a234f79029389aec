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

// inbox collects the events of sources and watchers, from any goroutine, until the loop
// takes them.
type inbox struct {
	mu      sync.Mutex
	mail    mail
	working mail          // the changes that the loop has taken and not programmed, as counts only
	poke    chan struct{} // holds one: there is mail
}

// mail is the content of the inbox.
type mail struct {
	events   []source.Event
	changes  report.Changes   // counts events
	since    time.Time        // when the first of events came in
	problems *[]model.Problem // of the source; nil: unchanged
	loaded   bool
	synced   bool
	config   *Config
	facts    bool // links, addresses or default routes have changed
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
	in.mail = mail{}
	in.working.changes.Services += m.changes.Services
	in.working.changes.Slices += m.changes.Slices
	if in.working.since.IsZero() {
		in.working.since = m.since
	}
	return m
}

// waits reports whether changes wait. Hints do not count: during a first write the kernel
// reports each object.
func (in *inbox) waits() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.mail.events) > 0
}

// done says that the loop has programmed all changes that it took.
func (in *inbox) done() {
	in.mu.Lock()
	in.working = mail{}
	in.mu.Unlock()
}

// backlog counts the changes that are not programmed yet.
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
