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

// Kernel reads the programmed objects for a Page. Calls never overlap.
type Kernel interface {
	// Frontends hands note the entries of the sets that publish or name frontends, or keep
	// clients away from them.
	Frontends(ctx context.Context, note func(state.ID, state.SpecRef)) error
	// Servers hands note the given virtual servers that exist, and their real servers with
	// connections.
	Servers(ctx context.Context, ids []state.ID, note func(id state.ID, spec state.SpecRef, active, inactive uint32)) error
	// EachReal hands note every real server of kube-ipvs with its connections.
	EachReal(ctx context.Context, note func(real state.ID, active, inactive uint32)) error
}

// Config configures a Page. All fields are required.
type Config struct {
	Node, Version string
	Desired       desired.Config        // has the addresses of virtual servers
	Board         *Board                // it observes the Rounds
	Kernel        Kernel                // only for this Page
	Last          func() *report.Round  // as Proxier.Last
	Backlog       func() report.Backlog // as Proxier.Backlog
	Unhealthy     func() string         // why the proxy is unhealthy; empty: it is healthy
	Ready         func() (bool, string) // whether it is ready, or why not
	Log           *slog.Logger
}

const (
	fresh       = 2 * time.Second  // how long an answer serves equal requests
	stale       = 15 * time.Second // how long the known frontends are used, if the loop has written none
	forget      = time.Minute      // the time without a request after which the Page frees its memory
	readTimeout = 5 * time.Second  // how long a request may take, with its wait
	sendTimeout = 30 * time.Second // how long a client may take to receive
	mostAtOnce  = 16               // requests at once; the next one is refused
	mostAnswers = 32               // answers that are kept
)

// Page serves Views. Its handlers are safe from any goroutine.
type Page struct {
	config Config
	slots  chan struct{} // one for each request
	turn   chan struct{} // one request at a time may use the fields below

	answers   map[string]answer
	frontends *Index // nil: not read, or forgotten
	indexed   time.Time
	changes   uint64 // Board.changes when it was read
	idle      *time.Timer
	failed    bool // the last read of the kernel failed
}

// answer is a body for a request.
type answer struct {
	made time.Time
	code int
	body []byte
}

// NewPage returns a Page. It reads the kernel only on requests.
func NewPage(c Config) *Page {
	return &Page{config: c, slots: make(chan struct{}, mostAtOnce), turn: make(chan struct{}, 1), answers: map[string]answer{}}
}

// Handlers returns the handlers by path. Both take the parameters q, problems and page; the HTML
// page also takes refresh.
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
	// A client that does not receive must not keep a slot. Not every writer has a deadline.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(sendTimeout))
	w.Header().Set("Content-Type", h.kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.code)
	_, _ = w.Write(a.body) // an error means that the client has gone
}

func busy(w http.ResponseWriter) {
	w.Header().Set("Retry-After", strconv.Itoa(int(fresh/time.Second)))
	http.Error(w, "too many requests for this page at once", http.StatusServiceUnavailable)
}

// secure sets the headers that forbid scripts, frames, caches and content of other servers.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// answer returns the recent answer to an equal request, or makes one. It returns the error of the
// context if its turn does not come in time.
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
	// Other requests may get the answer too, so it continues if the client goes.
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

// keep keeps an answer, and the others that are fresh.
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

// forget frees the memory after a while without requests.
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
