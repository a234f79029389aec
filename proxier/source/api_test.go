package source

import (
	"context"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/metrics"

	"kube-ipvs/proxier/model"
)

func TestMain(m *testing.M) {
	nodeWait, steady, watchPace = time.Second, 300*time.Millisecond, 20*time.Millisecond
	metrics.RequestLatency = &measured
	os.Exit(m.Run())
}

// teller is a recorder that counts how often each Problem came up.
type teller struct {
	*recorder
	came map[string]int
}

func (s *teller) Problems(now []model.Problem) {
	s.look(func() {
		for _, p := range now {
			if !slices.Contains(s.problems, p) {
				s.came[p.String()]++
			}
		}
	})
	s.recorder.Problems(now)
}

// tellAPI is startAPI with a teller.
func tellAPI(t *testing.T, servers ...string) *teller {
	t.Helper()
	var configs []*rest.Config
	for _, s := range servers {
		configs = append(configs, &rest.Config{Host: s, QPS: -1})
	}
	src, err := API(APIOptions{Configs: configs, NodeName: "here"})
	must(t, err)
	src.(*api).backoff.Duration = 5 * time.Millisecond
	s := &teller{newRecorder(), map[string]int{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = src.Run(ctx, s) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return s
}

// once fails if a Problem came up more than once, or in several words.
func (s *teller) once(t *testing.T, most int) {
	t.Helper()
	s.look(func() {
		if len(s.came) > most {
			t.Errorf("more than %d problems: %v", most, s.came)
		}
		for text, n := range s.came {
			if n != 1 {
				t.Errorf("came up %d times: %s", n, text)
			}
		}
	})
}

// Nothing is taken away because an API server fails, whatever way it does; it
// is told once, and no more when it works.
func TestAPIFailsAndNothingGoes(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(http.ResponseWriter, *http.Request) bool
		want  string
		most  int // problems: a kind each, or a kind and verb
	}{
		"401":          {denied(401, metav1.StatusReasonUnauthorized, "Unauthorized"), "credentials", 3},
		"403":          {denied(403, metav1.StatusReasonForbidden, "no"), "let this user list services: its role lacks the verb \"list\"", 6},
		"404":          {denied(404, metav1.StatusReasonNotFound, "no"), "has no services/v1", 3},
		"500":          {denied(500, metav1.StatusReasonInternalError, "etcd is ill"), "etcd is ill", 3},
		"garbage":      {raw("application/json", "\x00{]"), "services", 6},
		"HTML":         {raw("text/html", "<h1>Welcome</h1>"), "services", 6},
		"another list": {raw("application/json", `{"kind":"SecretList","apiVersion":"v1","metadata":{"resourceVersion":"900"},"items":[]}`), "services", 6},
		"truncated":    {truncated, "services", 6},
		"hangs up":     {func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, "EOF", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeAPI(t)
			f.put(apiService("web"), apiSlice("web-1", "web", "10.0.0.1"), apiNode("here"))
			s := tellAPI(t, f.URL)
			s.awaitSynced(t)
			f.setFault(c.fault)
			f.forget() // all is listed again
			s.awaitProblem(t, c.want)
			before := f.count("/services?")
			f.await(t, "retries", func() bool { return f.count("/services?") >= before+3 })
			s.once(t, c.most)
			f.setFault(nil)
			s.awaitWell(t)
			f.put(apiService("after"))
			s.awaitNames(t, "after here web web-1")
			s.look(func() {
				if want := []string{"+here +web +web-1", "+after"}; !slices.Equal(s.batches, want) || s.synced != 1 {
					t.Errorf("told %q, synced %d; want %q", s.batches, s.synced, want)
				}
			})
		})
	}
}

// truncated begins an answer that is longer than it is.
func truncated(w http.ResponseWriter, _ *http.Request) bool {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "1000")
	_, _ = w.Write([]byte(`{"kind":"ServiceList","apiVersion":"v1","items":[`))
	return true
}

// A list that works does not solve that a watch does not, and tell it anew.
func TestAPIWatchFailsAndListWorks(t *testing.T) {
	f := newFakeAPI(t)
	f.fault = onWatch(denied(500, metav1.StatusReasonInternalError, "no watch cache"))
	f.put(apiService("web"), apiNode("here"))
	s := tellAPI(t, f.URL)
	s.awaitSynced(t)
	s.awaitProblem(t, "no watch cache")
	before := f.count("/endpointslices?")
	f.await(t, "relists", func() bool { return f.count("/endpointslices?") >= before+6 })
	s.once(t, 1)
	f.setFault(nil)
	s.awaitWell(t)
}

// What the connection failed of stands in the Problem, the query does not.
func TestAPIRestarts(t *testing.T) {
	f := newFakeAPI(t)
	f.put(apiService("web"), apiNode("here"))
	handler, address := f.Config.Handler, f.Listener.Addr().String()
	s := tellAPI(t, f.URL)
	s.awaitSynced(t)
	f.end()
	s.awaitProblem(t, "connection refused")
	s.look(func() {
		if text := s.said(); strings.Contains(text, "Selector") {
			t.Errorf("the query is told: %s", text)
		}
	})
	l, err := net.Listen("tcp", address)
	must(t, err)
	again := &http.Server{Handler: handler}
	go func() { _ = again.Serve(l) }()
	t.Cleanup(func() { _ = again.Close() })
	f.put(apiService("new"))
	s.awaitNames(t, "here new web")
	s.awaitWell(t)
	s.once(t, 3)
	s.look(func() {
		if all := strings.Join(s.batches, " "); strings.Contains(all, "-") {
			t.Errorf("something was deleted: %s", all)
		}
	})
}

// The source asks a server that has failed again only if the other one fails.
func TestAPIStaysWithTheServerThatAnswers(t *testing.T) {
	one, two := newFakeAPI(t), newFakeAPI(t)
	for _, f := range []*fakeAPI{one, two} {
		f.put(apiService("web"), apiNode("here"))
	}
	s := tellAPI(t, one.URL, two.URL)
	s.awaitSynced(t)
	one.setFault(denied(503, metav1.StatusReasonServiceUnavailable, "going down"))
	one.cut()
	two.await(t, "watches of all", func() bool {
		return two.count("/services?", "watch") > 0 && two.count("/endpointslices?", "watch") > 0 && two.count("/nodes?", "watch") > 0
	})
	one.setFault(nil)
	asked := one.count()
	two.forget()
	two.put(apiService("new"))
	s.awaitNames(t, "here new web")
	s.awaitWell(t)
	if n := one.count() - asked; n != 0 {
		t.Errorf("the first server was asked %d times without need", n)
	}
	two.setFault(denied(503, metav1.StatusReasonServiceUnavailable, "going down"))
	two.cut()
	one.await(t, "requests", func() bool { return one.count() > asked })
}

// started is an API source without API servers: kinds tell it themselves.
func started(t *testing.T) (*api, map[string]*versions, *recorder) {
	t.Helper()
	a, r := &api{options: APIOptions{NodeName: "here"}}, newRecorder()
	stores := map[string]*versions{}
	for _, k := range a.begin(r) {
		stores[k.name] = &versions{known: map[key]uint64{}, kind: k, api: a, slim: slimmer(false)}
	}
	t.Cleanup(a.end)
	return a, stores, r
}

func TestAPIWaitsForTheNode(t *testing.T) {
	here, web := apiNode("here"), apiService("web")
	here.ResourceVersion, web.ResourceVersion = "1", "2"
	for name, c := range map[string]struct {
		first   []any         // list of Nodes; nil: it does not come
		appears time.Duration // after all others; 0: never
		synced  time.Duration
		problem bool // at the end
	}{
		"there":             {[]any{here}, 0, 0, false},
		"missing":           {[]any{}, 0, nodeWait, true},
		"cannot be read":    {nil, 0, nodeWait, false},
		"appears soon":      {[]any{}, nodeWait / 2, nodeWait / 2, false},
		"appears too late":  {[]any{}, 2 * nodeWait, nodeWait, false},
		"read only by then": {nil, nodeWait / 2, nodeWait / 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, stores, r := started(t)
				if c.first != nil {
					must(t, stores["nodes"].Replace(slices.Clone(c.first), "1"))
				}
				must(t, stores["services"].Replace([]any{web}, "2"))
				time.Sleep(time.Hour) // slices come late, and the start waits for them
				if r.synced != 0 || len(r.batches) != 0 {
					t.Fatalf("told without slices: %q", r.batches)
				}
				start := time.Now()
				must(t, stores["endpointslices"].Replace(nil, "3"))
				if c.appears > 0 {
					time.AfterFunc(c.appears, func() {
						if c.first == nil {
							_ = stores["nodes"].Replace([]any{here}, "4")
						} else {
							_ = stores["nodes"].Add(here)
						}
					})
				}
				for synced := 0; synced == 0; r.look(func() { synced = r.synced }) {
					if time.Since(start) > time.Minute {
						t.Fatal("never synced")
					}
					time.Sleep(nodeWait / 10)
				}
				if d := time.Since(start); d < c.synced || d > c.synced+nodeWait/5 {
					t.Errorf("synced after %s, want %s", d, c.synced)
				}
				time.Sleep(3 * nodeWait)
				synctest.Wait()
				want := map[bool]string{true: "here web", false: "web"}[len(c.first) > 0 || c.appears > 0]
				if got := r.names(); got != want || r.synced != 1 {
					t.Errorf("objects %s, synced %d, want %s", got, r.synced, want)
				}
				if got := strings.Contains(r.said(), "Node here"); got != c.problem {
					t.Errorf("problems: %s", r.said())
				}
			})
		})
	}
}

func TestAPIEndBeforeTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, stores, r := started(t)
		must(t, stores["services"].Replace(nil, "1"))
		must(t, stores["endpointslices"].Replace(nil, "1"))
		a.end()
		time.Sleep(2 * nodeWait)
		if r.synced != 0 || len(r.batches) != 0 {
			t.Error("told something after the end")
		}
	})
}

// A version that was delivered is not delivered again, another one is, and
// what a list lacks is gone.
func TestVersions(t *testing.T) {
	_, stores, r := started(t)
	must(t, stores["endpointslices"].Replace(nil, "1"))
	must(t, stores["nodes"].Replace([]any{apiNode("here")}, "1"))
	services := stores["services"]
	at := func(name, version string) any {
		s := apiService(name)
		s.ResourceVersion = version
		return s
	}
	must(t, services.Replace([]any{at("a", "1"), at("b", "2"), at("c", "opaque")}, "2"))
	must(t, services.Replace([]any{at("a", "1"), at("b", "3"), at("c", "opaque"), at("d", "4")}, "4"))
	must(t, services.Update(at("d", "4")))
	must(t, services.Update(at("d", "5")))
	must(t, services.Delete(at("d", "6")))
	must(t, services.Replace([]any{at("c", "other"), at("d", "5")}, "7"))
	if want := []string{"+a +b +c +here", "+b +d", "+d", "-d", "+c +d -a -b"}; !slices.Equal(r.batches, want) {
		t.Errorf("told %q, want %q", r.batches, want)
	}
}

// Some waits of a reflector know no context, and may be long.
func TestImpatientClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c, start := impatient{ctx: ctx}, time.Now()
		<-c.After(time.Minute)
		if d := time.Since(start); d != time.Minute {
			t.Errorf("waited %s", d)
		}
		time.AfterFunc(time.Second, cancel)
		<-c.After(time.Hour)
		if d := time.Since(start); d != time.Minute+time.Second {
			t.Errorf("waited %s", d)
		}
	})
}
