package source

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"kube-ipvs/proxier/model"
)

// An API server takes only Events within its limits.
func TestEventIsValid(t *testing.T) {
	at := time.Unix(1700000000, 0)
	for name, c := range map[string]struct{ node, service, message string }{
		"plain":         {"here", "web", "no"},
		"long names":    {strings.Repeat("n.", 120) + "n", strings.Repeat("s", 63), "no"},
		"long note":     {"here", "web", strings.Repeat("x", 5000)},
		"cut in a rune": {"here", "web", strings.Repeat("ä", 5000)},
		"no UTF-8":      {"here", "web", "\xff\xfe"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Reporter{node: c.node, now: func() time.Time { return at }}
			p := model.Problem{UID: "uid", Object: "Service shop/" + c.service, Field: "spec", Message: c.message}
			e := r.event(p)
			if bad := validation.IsDNS1123Subdomain(e.Name); len(bad) > 0 {
				t.Errorf("name %s: %v", e.Name, bad)
			}
			if len(e.Note) > 1024 || !utf8.ValidString(e.Note) || !strings.HasPrefix(e.Note, "spec: ") {
				t.Errorf("note of %d bytes %.40q", len(e.Note), e.Note)
			}
			if len(e.ReportingInstance) > 128 || len(e.Reason) > 128 || len(e.Action) > 128 || e.Reason == "" || e.Action == "" || !e.EventTime.Equal(&metav1.MicroTime{Time: at}) {
				t.Errorf("%+v", e)
			}
			if o := e.Regarding; o.UID != "uid" || o.Kind != "Service" || o.APIVersion != "v1" || o.Namespace != "shop" || o.Name != c.service || e.Namespace != "shop" {
				t.Errorf("about %+v, in %s", o, e.Namespace)
			}
			// Others have other names, and so has this one ten minutes later.
			names := []string{e.Name}
			at = at.Add(eventAgain)
			names = append(names, r.event(p).Name)
			p.Message = "another"
			names = append(names, r.event(p).Name)
			r.node = "elsewhere"
			names = append(names, r.event(p).Name)
			slices.Sort(names)
			if len(slices.Compact(names)) != 4 {
				t.Errorf("names %q", names)
			}
		})
	}
}

// What comes and goes is written every ten minutes and not more often,
// whenever it is looked at; what stays is written once.
func TestReporterFlapping(t *testing.T) {
	now := time.Unix(1700000000, 0)
	r, err := NewReporter([]*rest.Config{{Host: "http://127.0.0.1:1"}}, "here", slog.New(slog.DiscardHandler))
	must(t, err)
	r.now = func() time.Time { return now }
	flaps, stays := serviceProblem("flaps"), serviceProblem("stays")
	wrote := map[string]int{}
	for minute := range 60 {
		all := []model.Problem{stays}
		if minute%2 == 0 {
			all = append(all, flaps)
		}
		r.Report(all)
		for p, id, ok := r.next(); ok; p, id, ok = r.next() {
			wrote[p.Object]++
			r.note(id, nil)
		}
		now = now.Add(time.Minute)
	}
	if wrote[stays.Object] != 1 || wrote[flaps.Object] < 5 || wrote[flaps.Object] > 6 {
		t.Errorf("written in an hour: %v", wrote)
	}
	now = now.Add(time.Hour)
	r.Report(nil)
	if len(r.written) != 0 {
		t.Errorf("remembers %v", r.written)
	}
}

// Its end is no fault of the API server, and Report never waits for one.
func TestReporterEndsWhileServerHangs(t *testing.T) {
	f := newFakeAPI(t)
	f.fault = func(_ http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not see that the client has gone
		<-r.Context().Done()
		return true
	}
	var log lockedBuffer
	r, err := NewReporter([]*rest.Config{{Host: f.URL, QPS: -1}}, "here", slog.New(slog.NewTextHandler(&log, nil)))
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	r.Report([]model.Problem{serviceProblem("web")})
	f.await(t, "a request", func() bool { return f.count(http.MethodPost) > 0 })
	r.Report([]model.Problem{serviceProblem("dns")}) // returns
	cancel()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
		t.Fatal("Run goes on after its end")
	}
	if log.String() != "" {
		t.Errorf("logged %s", log.String())
	}
}

// An Event of the same name is there from before a restart.
func TestReporterTakesExistingEventForWritten(t *testing.T) {
	f := newFakeAPI(t)
	f.fault = denied(http.StatusConflict, metav1.StatusReasonAlreadyExists, "exists")
	var log lockedBuffer
	now := time.Now()
	r := startReporter(t, f, &now, slog.New(slog.NewTextHandler(&log, nil)))
	r.Report([]model.Problem{serviceProblem("web")})
	f.await(t, "a request", func() bool { return f.count(http.MethodPost) == 1 })
	f.setFault(nil)
	r.Report([]model.Problem{serviceProblem("web"), serviceProblem("dns")})
	if e := f.awaitWrites(t, 1)[0]; e.Regarding.Name != "dns" || log.String() != "" {
		t.Errorf("written about %s, logged %s", e.Regarding.Name, log.String())
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
