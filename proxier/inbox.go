package proxier

import (
	"sync"
	"time"

	"kube-ipvs/proxier/checks"
	"kube-ipvs/proxier/cluster"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// inbox collects the events of sources and watchers, from any goroutine, until the loop
// takes them.
type inbox struct {
	mu      sync.Mutex
	mail    mail
	working report.Backlog // the changes that the loop has taken and not programmed
	poke    chan struct{}  // holds one: there is mail
}

// mail is the content of the inbox.
type mail struct {
	news     cluster.News
	since    time.Time // when the first of its events came in
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
	in.working = in.sum()
	m := in.mail
	in.mail = mail{}
	return m
}

// sum counts the changes that the loop has taken and not programmed, and those in the inbox.
func (in *inbox) sum() report.Backlog {
	b, n := in.working, in.mail.news.Changes
	b.Services += n.Services
	b.Slices += n.Slices
	if b.Since.IsZero() {
		b.Since = in.mail.since
	}
	return b
}

// waits reports whether changes wait. Hints do not count: during a first write the kernel
// reports each object.
func (in *inbox) waits() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.mail.news.Events) > 0
}

// done says that the loop has programmed all changes that it took.
func (in *inbox) done() {
	in.mu.Lock()
	in.working = report.Backlog{}
	in.mu.Unlock()
}

// backlog counts the changes that are not programmed yet.
func (in *inbox) backlog() report.Backlog {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.sum()
}
