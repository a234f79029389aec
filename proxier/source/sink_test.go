package source

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-ipvs/proxier/model"
)

// recorder is a Sink that remembers what it was told.
type recorder struct {
	mu       sync.Mutex
	news     chan struct{} // closed and replaced at every call
	batches  []string      // events of each call, in order
	objects  map[ref]Event
	problems []model.Problem
	loaded   int
	synced   int
}

func newRecorder() *recorder {
	return &recorder{news: make(chan struct{}), objects: map[ref]Event{}}
}

func (r *recorder) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.news)
	r.news = make(chan struct{})
}

func (r *recorder) Events(events []Event) {
	r.change(func() {
		var batch []string
		for _, e := range events {
			o, sign := refOf(e), "+"
			r.objects[o] = e
			if e.Deleted {
				sign = "-"
				delete(r.objects, o)
			}
			batch = append(batch, sign+o.name)
		}
		slices.Sort(batch)
		r.batches = append(r.batches, strings.Join(batch, " "))
	})
}

func (r *recorder) Loaded() { r.change(func() { r.loaded++ }) }

func (r *recorder) Synced() { r.change(func() { r.synced++ }) }

func (r *recorder) Problems(p []model.Problem) { r.change(func() { r.problems = p }) }

func refOf(e Event) ref {
	switch {
	case e.Service != nil:
		return ref{"Service", e.Service.Namespace, e.Service.Name}
	case e.Slice != nil:
		return ref{"EndpointSlice", e.Slice.Namespace, e.Slice.Name}
	}
	return ref{"Node", "", e.Node.Name}
}

// names returns the names of all objects there are, sorted. The lock is held.
func (r *recorder) names() string {
	var all []string
	for o := range r.objects {
		all = append(all, o.name)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (r *recorder) said() string {
	var all []string
	for _, p := range r.problems {
		all = append(all, p.String())
	}
	return strings.Join(all, "\n")
}

// await waits until the recorder is as wanted.
func (r *recorder) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		r.mu.Lock()
		done, news := ok(), r.news
		state := fmt.Sprintf("objects %s\nbatches %q\nloaded %d, synced %d\nproblems:\n%s", r.names(), r.batches, r.loaded, r.synced, r.said())
		r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-news:
		case <-deadline:
			t.Fatalf("never saw: %s\n%s", what, state)
		}
	}
}

func (r *recorder) awaitNames(t *testing.T, want string) {
	t.Helper()
	r.await(t, "objects "+want, func() bool { return r.names() == want })
}

func (r *recorder) awaitProblem(t *testing.T, part string) {
	t.Helper()
	r.await(t, "problem "+part, func() bool { return strings.Contains(r.said(), part) })
}

func (r *recorder) awaitWell(t *testing.T) {
	t.Helper()
	r.await(t, "no problems", func() bool { return len(r.problems) == 0 })
}

func (r *recorder) awaitLoaded(t *testing.T) {
	t.Helper()
	r.await(t, "loaded", func() bool { return r.loaded > 0 })
}

func (r *recorder) awaitSynced(t *testing.T) {
	t.Helper()
	r.await(t, "synced", func() bool { return r.synced > 0 })
}

// look calls f with the lock held.
func (r *recorder) look(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// run starts a source of manifests that is stopped with the test. Its slow
// scan never comes, so that changes are seen by inotify or not at all.
func run(t *testing.T, paths ...string) *recorder {
	t.Helper()
	return runEvery(t, time.Hour, paths...)
}

func runEvery(t *testing.T, rescan time.Duration, paths ...string) *recorder {
	t.Helper()
	m := Manifests(paths, slog.New(slog.DiscardHandler)).(*manifests)
	m.rescan = rescan
	r := newRecorder()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- m.Run(ctx, r) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// svc returns a manifest of a service whose port tells versions apart.
func svc(name string, port int) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata:\n  name: %s\nspec:\n  clusterIP: 10.96.0.10\n  ports:\n  - port: %d\n", name, port)
}

func docs(all ...string) string { return strings.Join(all, "---\n") }

func write(t testing.TB, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

// replace writes a file as careful writers do.
func replace(t *testing.T, path, data string) {
	t.Helper()
	tmp := filepath.Join(filepath.Dir(path), ".tmp-"+filepath.Base(path))
	write(t, tmp, data)
	must(t, os.Rename(tmp, path))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func portOf(e Event) int32 { return e.Service.Spec.Ports[0].Port }

func service(name string) ref { return ref{"Service", "default", name} }
