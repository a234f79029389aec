package source

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

func TestClusterEnds(t *testing.T) {
	good, bad, slow := newFakeAPI(t), newFakeAPI(t), newFakeAPI(t)
	good.put(apiService("web"), apiNode("here"))
	bad.Close()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	slow.fault = func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return true
	}
	for name, c := range map[string]struct {
		server *fakeAPI
		ready  func(*recorder)
	}{
		"following":  {good, func(r *recorder) { r.awaitSynced(t) }},
		"refused":    {bad, func(r *recorder) { r.awaitProblem(t, "services"); bad.awaitDials(t, 12) }},
		"slow lists": {slow, func(*recorder) { slow.await(t, "requests", func() bool { return slow.count() > 2 }) }},
	} {
		t.Run(name, func(t *testing.T) {
			r, stop := startAPI(t, c.server.URL)
			c.ready(r)
			stop()
			deadline := time.Now().Add(3 * time.Second)
			for {
				buf := make([]byte, 1<<20)
				stacks := string(buf[:runtime.Stack(buf, true)])
				left := strings.Count(stacks, "tools/cache.") + strings.Count(stacks, "source.(*listerWatcher)") + strings.Count(stacks, "watch.(*StreamWatcher)")
				if left == 0 {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("goroutines are left:\n%s", stacks)
				}
				runtime.Gosched()
			}
		})
	}
}

// The source calls no sink after its end.
func TestClusterSilentAfterEnd(t *testing.T) {
	f := newFakeAPI(t)
	f.put(apiService("web"))
	f.fault = on("/nodes", func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
	src, err := API(APIOptions{Configs: []*rest.Config{{Host: f.URL}}, NodeName: "here"})
	must(t, err)
	r := newRecorder()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = src.Run(ctx, r) }()
	a := src.(*api)
	r.awaitWaiting(t, a)
	cancel()
	<-done
	select {
	case <-r.told():
		t.Error("something was delivered after Run had returned")
	case <-time.After(nodeWait + 500*time.Millisecond):
	}
}

func (r *recorder) told() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.news
}

// awaitWaiting waits until only the Node is missing.
func (r *recorder) awaitWaiting(t *testing.T, a *api) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		a.mu.Lock()
		n := len(a.waiting)
		a.mu.Unlock()
		if n == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("services and endpointslices never came")
		}
	}
}
