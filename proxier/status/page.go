package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Kernel is how a Page reads what is programmed. Calls never overlap.
type Kernel interface {
	// Frontends hands note the entries of the sets that publish frontends,
	// name them or keep clients away from them.
	Frontends(ctx context.Context, note func(state.ID, state.SpecRef)) error
	// Servers hands note those of the virtual servers that are there, and
	// the real servers of each with their connections.
	Servers(ctx context.Context, ids []state.ID, note func(id state.ID, spec state.SpecRef, active, inactive uint32)) error
	// EachReal hands note every real server of ours with its connections.
	EachReal(ctx context.Context, note func(real state.ID, active, inactive uint32)) error
}

// Config is what a Page must be told. All is needed.
type Config struct {
	Node, Version string
	Desired       desired.Config        // says where virtual servers stand
	Board         *Board                // that Rounds are told to
	Kernel        Kernel                // for this Page alone
	Last          func() *report.Round  // as Proxier.Last
	Backlog       func() report.Backlog // as Proxier.Backlog
	Unhealthy     func() string         // why the proxy is; empty: it is not
	Ready         func() (bool, string) // or why not
	Log           *slog.Logger
}

const (
	fresh       = 2 * time.Second  // that an answer serves all who ask for the same
	stale       = 15 * time.Second // that frontends are taken for those known, if the loop has written none
	forget      = time.Minute      // without a request, after which nothing is kept in memory
	readTimeout = 5 * time.Second  // that a request may take, waiting included
	sendTimeout = 30 * time.Second // that a client may take to receive
	mostAtOnce  = 16               // requests; the next one is refused
	mostAnswers = 32               // that are kept
)

// Page serves what a View has. Its handlers may be called from any goroutine.
type Page struct {
	config Config
	slots  chan struct{} // one a request
	turn   chan struct{} // for one request at a time, which may use what follows

	answers   map[string]answer
	frontends *Index // nil: not read, or forgotten
	indexed   time.Time
	changes   uint64 // Board.changes when it was read
	idle      *time.Timer
	failed    bool // what is programmed could not be read the last time
}

// answer is a body that was made.
type answer struct {
	made time.Time
	code int
	body []byte
}

// NewPage returns a Page that has read nothing yet.
func NewPage(c Config) *Page {
	return &Page{config: c, slots: make(chan struct{}, mostAtOnce), turn: make(chan struct{}, 1), answers: map[string]answer{}}
}

// Handlers returns what serves which path. Parameters of both are q, problems
// and page; the page for people also knows refresh.
func (p *Page) Handlers() map[string]http.Handler {
	return map[string]http.Handler{
		"/":      handler{p, "text/html; charset=utf-8", writeHTML},
		"/state": handler{p, "application/json", writeJSON},
	}
}

// handler serves one form of a View.
type handler struct {
	page  *Page
	kind  string
	write func(*bytes.Buffer, *View, query) error
}

// ServeHTTP is part of http.Handler.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this page is read-only", http.StatusMethodNotAllowed)
		return
	}
	q, err := parse(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case h.page.slots <- struct{}{}:
		defer func() { <-h.page.slots }()
	default:
		busy(w)
		return
	}
	a, err := h.page.answer(r.Context(), h, q)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		busy(w)
		return
	case err != nil:
		h.page.config.Log.Error("status page cannot be shown", "err", err)
		http.Error(w, "the page cannot be shown; the log says why", http.StatusInternalServerError)
		return
	}
	// Who does not receive must not keep a slot. Not every writer can be told.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(sendTimeout))
	w.Header().Set("Content-Type", h.kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.code)
	_, _ = w.Write(a.body) // an error is the client's, who has gone
}

func busy(w http.ResponseWriter) {
	w.Header().Set("Retry-After", strconv.Itoa(int(fresh/time.Second)))
	http.Error(w, "too many requests for this page at once", http.StatusServiceUnavailable)
}

// secure says that the page needs nothing from anywhere, and may be part of no
// other: no script, no frame, nothing kept.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// answer returns what was answered to the same request a moment ago, or makes
// it. When its turn does not come in time, the error is that of the context.
func (p *Page) answer(ctx context.Context, h handler, q query) (answer, error) {
	waiting, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-waiting.Done():
		return answer{}, waiting.Err()
	}
	key := h.kind + "?" + q.values(q.page).Encode()
	if a, ok := p.answers[key]; ok && time.Since(a.made) < fresh {
		return a, nil
	}
	// Others may get the answer too: it goes on when the client goes.
	reading, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
	defer cancel()
	v := p.view(reading, q)
	a := answer{made: time.Now(), code: http.StatusOK}
	if v.ReadError != "" {
		a.code = http.StatusServiceUnavailable
		if !p.failed {
			p.config.Log.Warn("the status page lacks the Services: the programmed objects cannot be read", "err", v.ReadError)
		}
	}
	p.failed = v.ReadError != ""
	var b bytes.Buffer
	if err := h.write(&b, v, q); err != nil {
		return answer{}, err
	}
	a.body = b.Bytes()
	p.keep(key, a)
	return a, nil
}

// keep remembers an answer, and what else is new enough.
func (p *Page) keep(key string, a answer) {
	for old, b := range p.answers {
		if time.Since(b.made) >= fresh || len(p.answers) >= mostAnswers {
			delete(p.answers, old)
		}
	}
	p.answers[key] = a
	if p.idle == nil {
		p.idle = time.AfterFunc(forget, p.forget)
	}
	p.idle.Reset(forget)
}

// forget gives back the memory when nobody has looked for a while.
func (p *Page) forget() {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	clear(p.answers)
	p.frontends = nil
}

func writeJSON(b *bytes.Buffer, v *View, _ query) error {
	e := json.NewEncoder(b)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
