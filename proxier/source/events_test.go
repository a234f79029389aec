package source

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
)

// fakeEvents is what an API server does with Events, for those who may create
// and patch them, and nothing else. It has no network, so that thousands can
// ask it in a test's own time. Events expire an hour after the last write.
type fakeEvents struct {
	mu       sync.Mutex
	version  int
	all      map[string]*storedEvent // by namespace/name
	made     []eventsv1.Event        // all that ever were
	counted  int                     // patches that changed something
	requests []time.Time
	codes    map[int]int
	refuse   func(w http.ResponseWriter, r *http.Request) bool // answers instead
}

type storedEvent struct {
	eventsv1.Event
	written time.Time
}

const eventLife = time.Hour

func newFakeEvents() *fakeEvents {
	return &fakeEvents{all: map[string]*storedEvent{}, codes: map[int]int{}}
}

// config reaches it without a network.
func (f *fakeEvents) config() *rest.Config {
	return &rest.Config{Host: "http://fake", QPS: -1, Transport: f}
}

// RoundTrip is part of http.RoundTripper.
func (f *fakeEvents) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	refuse := f.refuse
	f.requests = append(f.requests, time.Now())
	f.mu.Unlock()
	w := httptest.NewRecorder()
	if refuse == nil || !refuse(w, r) {
		f.mu.Lock()
		f.serve(w, r)
		f.mu.Unlock()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	answer := w.Result()
	answer.Request = r
	f.mu.Lock()
	f.codes[answer.StatusCode]++
	f.mu.Unlock()
	return answer, nil
}

func (f *fakeEvents) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	parts := strings.Split(r.URL.Path, "/") // /apis/events.k8s.io/v1/namespaces/NS/events[/NAME]
	if err != nil || len(parts) < 7 || parts[2] != "events.k8s.io" || parts[6] != "events" {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, r.URL.Path)
		return
	}
	switch {
	case r.Method == http.MethodPost && len(parts) == 7:
		f.create(w, parts[5], body)
	case r.Method == http.MethodPatch && len(parts) == 8 && r.Header.Get("Content-Type") == "application/merge-patch+json":
		f.patch(w, parts[5]+"/"+parts[7], body)
	default:
		refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, r.Method+" is forbidden")
	}
}

func (f *fakeEvents) create(w http.ResponseWriter, namespace string, body []byte) {
	e := &storedEvent{}
	if err := runtime.DecodeInto(testCodec, body, &e.Event); err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	key := namespace + "/" + e.Name
	if f.live(key) != nil {
		refuse(w, http.StatusConflict, metav1.StatusReasonAlreadyExists, "exists")
		return
	}
	if why := invalid(&e.Event, namespace); why != "" {
		refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, why)
		return
	}
	f.made = append(f.made, e.Event)
	f.all[key] = e
	f.store(w, http.StatusCreated, e)
}

// patch merges, and writes only what is new.
func (f *fakeEvents) patch(w http.ResponseWriter, key string, body []byte) {
	e := f.live(key)
	var change struct {
		Metadata struct{ ResourceVersion string }
		Series   *eventsv1.EventSeries
	}
	err := json.Unmarshal(body, &change)
	var known map[string]any
	_ = json.Unmarshal(body, &known)
	delete(known, "metadata")
	delete(known, "series")
	switch {
	case e == nil:
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, key)
	case err != nil || len(known) > 0:
		refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "fields other than series are immutable")
	case change.Metadata.ResourceVersion != "" && change.Metadata.ResourceVersion != e.ResourceVersion:
		refuse(w, http.StatusConflict, metav1.StatusReasonConflict, "was changed")
	case change.Series == nil || reflect.DeepEqual(change.Series, e.Series):
		answer(w, http.StatusOK, e)
	case change.Series.Count < 2 || change.Series.LastObservedTime.IsZero():
		refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "series")
	default:
		e.Series = change.Series
		f.counted++
		f.store(w, http.StatusOK, e)
	}
}

// live returns an Event that has not expired, or nil. The lock is held.
func (f *fakeEvents) live(key string) *storedEvent {
	if e := f.all[key]; e != nil && time.Since(e.written) < eventLife {
		return e
	}
	return nil
}

// store writes e and answers it. The lock is held.
func (f *fakeEvents) store(w http.ResponseWriter, code int, e *storedEvent) {
	f.version++
	e.ResourceVersion, e.written = strconv.Itoa(f.version), time.Now()
	answer(w, code, e)
}

func answer(w http.ResponseWriter, code int, e *storedEvent) {
	out := e.Event
	out.TypeMeta = metav1.TypeMeta{Kind: "Event", APIVersion: "events.k8s.io/v1"}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(out)
}

// look calls do with the lock held.
func (f *fakeEvents) look(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// totals are what there was until now.
type totals struct {
	made              []eventsv1.Event
	counted, requests int
	codes             map[int]int
}

func (f *fakeEvents) total() totals {
	f.mu.Lock()
	defer f.mu.Unlock()
	return totals{slices.Clone(f.made), f.counted, len(f.requests), maps.Clone(f.codes)}
}

// busiest returns how many requests came within one second, at most.
func (f *fakeEvents) busiest() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := slices.SortedFunc(slices.Values(f.requests), time.Time.Compare)
	most := 0
	for first, last := 0, 0; last < len(at); last++ {
		for at[last].Sub(at[first]) >= time.Second {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

// events returns what there is now, in the order of names.
func (f *fakeEvents) events() (out []eventsv1.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.all {
		if time.Since(e.written) < eventLife {
			out = append(out, e.Event)
		}
	}
	slices.SortFunc(out, func(a, b eventsv1.Event) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// reporters starts so many nodes that write Events to f.
func (f *fakeEvents) reporters(t *testing.T, n int, log *slog.Logger) (all []*Reporter) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i := range n {
		r, err := NewReporter([]*rest.Config{f.config()}, fmt.Sprintf("node-%d", i), log)
		must(t, err)
		running.Go(func() { r.Run(ctx) })
		all = append(all, r)
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return all
}
