package source

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"kube-ipvs/proxier/model"
)

func serviceProblem(name string) model.Problem {
	return model.Problem{UID: "uid-" + name, Object: "Service default/" + name, Field: "spec.ports[0]", Message: "it is wrong; this port is left out"}
}

// startReporter runs a Reporter whose clock is at *now.
func startReporter(t *testing.T, f *fakeAPI, now *time.Time, log *slog.Logger) *Reporter {
	t.Helper()
	r, err := NewReporter([]*rest.Config{{Host: f.URL, QPS: -1}}, "here", log)
	must(t, err)
	r.now = func() time.Time { return *now }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return r
}

// clock changes the time that a Reporter sees.
func (r *Reporter) clock(now *time.Time, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*now = now.Add(d)
}

func (f *fakeAPI) awaitWrites(t *testing.T, n int) (all []eventsv1.Event) {
	t.Helper()
	f.await(t, fmt.Sprintf("%d Events", n), func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.writes) >= n })
	f.look(func() {
		if len(f.writes) > n {
			t.Errorf("%d Events were written, want %d", len(f.writes), n)
		}
		for _, w := range f.writes {
			var e eventsv1.Event
			must(t, json.Unmarshal(w, &e))
			all = append(all, e)
		}
	})
	return all
}

func TestReporterWritesOnce(t *testing.T) {
	f := newFakeAPI(t)
	now := time.Now()
	r := startReporter(t, f, &now, slog.New(slog.DiscardHandler))
	web, dns := serviceProblem("web"), serviceProblem("dns")
	r.Report([]model.Problem{web, {Message: "of no object"}, {Object: "EndpointSlice default/x", Message: "not a Service"}})
	e := f.awaitWrites(t, 1)[0]
	if e.Regarding.Kind != "Service" || e.Regarding.Namespace != "default" || e.Regarding.Name != "web" || e.Regarding.UID != "uid-web" ||
		e.Type != "Warning" || e.ReportingController != "kube-ipvs" || e.ReportingInstance != "here" || e.Action != "Program" ||
		e.Reason == "" || e.EventTime.IsZero() || e.Namespace != "default" || !strings.Contains(e.Note, "spec.ports[0]: it is wrong") {
		t.Errorf("written: %+v", e)
	}
	// Said again, and gone and back within ten minutes: nothing new.
	r.Report([]model.Problem{web})
	r.Report(nil)
	r.clock(&now, 9*time.Minute)
	r.Report([]model.Problem{web, dns})
	if e := f.awaitWrites(t, 2)[1]; e.Regarding.Name != "dns" {
		t.Errorf("written again: %+v", e)
	}
	// Gone, and back after ten minutes.
	r.Report([]model.Problem{dns})
	r.clock(&now, 11*time.Minute)
	r.Report([]model.Problem{web, dns})
	if e := f.awaitWrites(t, 3); e[2].Regarding.Name != "web" || e[2].Name == e[0].Name {
		t.Errorf("written: %+v", e[2])
	}
}

func TestReporterRate(t *testing.T) {
	f := newFakeAPI(t)
	now := time.Now()
	r := startReporter(t, f, &now, slog.New(slog.DiscardHandler))
	var all []model.Problem
	for i := range 1000 {
		all = append(all, serviceProblem(fmt.Sprint("s", i)))
	}
	start := time.Now()
	r.Report(all)
	if d := time.Since(start); d > time.Second {
		t.Errorf("Report took %s", d)
	}
	f.await(t, "the burst and one", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.writes) > eventsBurst })
	took := time.Since(start)
	f.look(func() {
		if most := eventsBurst + int(took.Seconds()*eventsASecond) + 1; len(f.writes) > most {
			t.Errorf("%d Events in %s", len(f.writes), took)
		}
	})
}

func TestReporterRefused(t *testing.T) {
	f := newFakeAPI(t)
	f.fault = denied(403, metav1.StatusReasonForbidden, "events is forbidden")
	var log bytes.Buffer
	now := time.Now()
	r := startReporter(t, f, &now, slog.New(slog.NewTextHandler(&log, nil)))
	var all []model.Problem
	for i := range 5 {
		all = append(all, serviceProblem(fmt.Sprint("s", i)))
	}
	r.Report(all)
	f.await(t, "all tried", func() bool { return f.count(http.MethodPost) >= 5 })
	f.setFault(nil)
	r.Report(append(all, serviceProblem("last")))
	f.awaitWrites(t, 1)
	r.mu.Lock() // the log is written under it
	defer r.mu.Unlock()
	if n := strings.Count(log.String(), "forbidden"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
}
