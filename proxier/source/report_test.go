package source

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs/proxier/model"
)

var discard = slog.New(slog.DiscardHandler)

// reporters is for figures of larger clusters: go test -run TestReporters -v -reporters 5000.
var reporters = flag.Int("reporters", 300, "nodes that write Events")

func serviceProblem(name string) model.Problem {
	return model.Problem{UID: "uid-" + name, Object: "Service default/" + name, Field: "spec.ports[0]", Message: "it is wrong; this port is left out"}
}

// broken returns n Services that cannot be programmed as they are.
func broken(n int) (all []model.Problem) {
	for i := range n {
		all = append(all, serviceProblem(fmt.Sprint("s", i)))
	}
	return all
}

// after lets time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// first is how long a lone node takes until it has written a new Event.
const first = spread*paceFirst + sortEvery + time.Second

func TestReporterWritesAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeEvents()
		r := f.reporters(t, 1, discard)[0]
		web := serviceProblem("web")
		again := web
		again.Field, again.Message = "spec.ports[1]", "it is wrong, too"
		began := time.Now()
		r.Report([]model.Problem{web, again, {Message: "of no object"}})
		after(first)
		all := f.events()
		if len(all) != 1 || len(f.total().made) != 1 {
			t.Fatalf("written: %+v", all)
		}
		e := all[0]
		if e.Regarding.Kind != "Service" || e.Regarding.Namespace != "default" || e.Regarding.Name != "web" || e.Regarding.UID != "uid-web" ||
			e.Type != "Warning" || e.ReportingController != "kube-ipvs" || e.ReportingInstance != "node-0" || e.Action != "Program" ||
			e.Reason != "NotProgrammed" || e.EventTime.Time.Before(began) || e.Series != nil ||
			e.Note != "spec.ports[0]: it is wrong; this port is left out (and 1 more like it)" {
			t.Errorf("written: %+v", e)
		}
		// It is there as long as the problem is, and counted every twenty to forty minutes.
		for range 24 {
			after(10 * time.Minute)
			if len(f.events()) != 1 {
				t.Fatal("the Event has expired")
			}
		}
		s := f.events()[0].Series
		if s == nil || s.Count < 6 || s.Count > 13 || time.Since(s.LastObservedTime.Time) > 41*time.Minute || len(f.total().made) != 1 {
			t.Errorf("%d made, after four hours %+v", len(f.total().made), s)
		}
		// When it is gone nothing is written, and the Event expires.
		r.Report(nil)
		counted := f.total().counted
		after(2 * time.Hour)
		if f.total().counted != counted || len(f.events()) != 0 {
			t.Errorf("counted %d times after the end, left: %+v", f.total().counted-counted, f.events())
		}
		// It comes back.
		r.Report([]model.Problem{web})
		after(first)
		if len(f.total().made) != 2 || f.total().made[1].Name != f.total().made[0].Name {
			t.Errorf("made: %+v", f.total().made)
		}
	})
}

// Hundreds of nodes see the same problems. There is one Event each for the whole cluster, soon, and
// counted by one node at a time.
func TestReportersShareEvents(t *testing.T) {
	const objects = 3
	nodes := *reporters
	synctest.Test(t, func(t *testing.T) {
		f := newFakeEvents()
		all := f.reporters(t, nodes, discard)
		for _, r := range all {
			r.Report(broken(objects))
		}
		after(10 * time.Second)
		if n := len(f.events()); n != objects {
			t.Errorf("%d Events after ten seconds, want %d", n, objects)
		}
		after(10*time.Minute - 10*time.Second)
		soon := f.total().requests
		if len(f.total().made) != objects || f.total().counted > objects {
			t.Errorf("%d Events made, %d counts; want %d, and hardly any", len(f.total().made), f.total().counted, objects)
		}
		// Each node asks once for each, and the one that finds none makes it.
		if soon < nodes*objects || soon > nodes*objects+20*objects {
			t.Errorf("%d requests by %d nodes about %d Events", soon, nodes, objects)
		}
		most := f.busiest()
		if most > nodes/8 {
			t.Errorf("%d requests in one second", most)
		}
		after(12*time.Hour - 10*time.Minute)
		half := f.total().requests
		after(12 * time.Hour)
		day, later := f.total().requests-soon, f.total().requests-half
		for _, e := range f.events() {
			// Once in twenty minutes, and without a gap in which it would expire.
			if e.Series == nil || e.Series.Count < 50 || e.Series.Count > 73 {
				t.Errorf("after a day %+v", e.Series)
			}
		}
		if len(f.events()) != objects || len(f.total().made) != objects {
			t.Errorf("%d Events, %d made", len(f.events()), len(f.total().made))
		}
		if later > nodes*objects*2 {
			t.Errorf("%d requests in half a day by %d nodes about %d Events", later, nodes, objects)
		}
		t.Logf("%d nodes, %d problems: %d requests in ten minutes, at most %d in a second, then %d in a day, of these %d in its second half; %d writes in all, answers %v",
			nodes, objects, soon, most, day, later, f.total().counted+len(f.total().made), f.total().codes)
		if f.total().codes[http.StatusUnprocessableEntity]+f.total().codes[http.StatusForbidden]+f.total().codes[http.StatusBadRequest] > 0 {
			t.Errorf("answers %v", f.total().codes)
		}
	})
}

// Hundreds of problems at once do not make all nodes ask at once.
func TestReportersOfManyProblems(t *testing.T) {
	const objects = 100
	nodes := *reporters
	synctest.Test(t, func(t *testing.T) {
		f := newFakeEvents()
		problems := broken(objects)
		for _, r := range f.reporters(t, nodes, discard) {
			r.Report(problems)
		}
		after(10 * time.Minute)
		first, most := f.total().requests, f.busiest()
		after(20 * time.Minute)
		if len(f.events()) != objects {
			t.Errorf("%d Events after half an hour", len(f.events()))
		}
		if most > nodes/5 {
			t.Errorf("%d requests in one second by %d nodes", most, nodes)
		}
		t.Logf("%d nodes, %d problems: at most %d requests in a second, %.1f a second in ten minutes and %.1f in the twenty after it, answers %v",
			nodes, objects, most, float64(first)/600, float64(f.total().requests-first)/1200, f.total().codes)
	})
}

// What a node alone has is told until it is mended there, and then what another has.
func TestReportersOfDifferentCauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeEvents()
		all := f.reporters(t, 2, discard)
		port := func(holder string) []model.Problem {
			return []model.Problem{{UID: "uid-web", Object: "Service default/web", Field: "spec.healthCheckNodePort", Message: holder + " has the port"}}
		}
		all[0].Report(port("nginx"))
		after(first)
		all[1].Report(port("envoy"))
		after(3 * time.Hour)
		if e := f.events(); len(e) != 1 || e[0].ReportingInstance != "node-0" || !strings.Contains(e[0].Note, "nginx") || e[0].Series == nil {
			t.Fatalf("%+v", e)
		}
		all[0].Report(nil)
		after(2 * time.Hour) // an hour until it expires, and forty minutes until the other looks
		if e := f.events(); len(e) != 1 || e[0].ReportingInstance != "node-1" || !strings.Contains(e[0].Note, "envoy") {
			t.Errorf("%+v", e)
		}
	})
}

// A tenant breaks thousands of objects: what a node sees to, and how often it
// asks, is bounded, and others' Events come all the same.
func TestReporterIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeEvents()
		const nodes = 5
		all := f.reporters(t, nodes, discard)
		other := model.Problem{UID: "1", Object: "Service zoo/other", Message: "it is wrong"}
		problems := append(broken(3*mostEvents), other)
		for _, r := range all {
			r.Report(problems)
		}
		after(30 * time.Minute)
		if len(f.total().made) > mostEvents || len(f.total().made) < mostEvents/2 {
			t.Errorf("%d Events made", len(f.total().made))
		}
		if most := f.busiest(); most > 2*nodes { // one to look, one to write
			t.Errorf("%d requests in one second by %d nodes", most, nodes)
		}
		found := false
		for _, e := range f.total().made {
			found = found || e.Regarding.Name == "other"
		}
		if !found {
			t.Error("the Event of another namespace is missing")
		}
		t.Logf("%d requests in half an hour, %d Events", f.total().requests, len(f.total().made))
	})
}

// All nodes were restarted, and each looks at hundreds of Events that it finds there. A new problem of
// another namespace is told before they are through.
func TestReportersTellWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeEvents()
		all, old := f.reporters(t, 30, discard), broken(300)
		gone := all[0]
		gone.Report(old)
		after(first + 300*paceFast)
		if n := len(f.events()); n != 300 {
			t.Fatalf("%d Events", n)
		}
		gone.Report(nil)
		for _, r := range all[1:] {
			r.Report(old)
		}
		after(10 * time.Minute)
		other := model.Problem{UID: "1", Object: "Service zoo/other", Message: "it is wrong"}
		for _, r := range all[1:] {
			r.Report(append(broken(300), other))
		}
		after(5 * time.Minute)
		if n := len(f.events()); n != 301 {
			t.Errorf("%d Events: the new one is missing", n)
		}
	})
}

// What comes and goes is forgotten in time, and does not make a node ask more
// often than what stays.
func TestReporterFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeEvents()
		r := f.reporters(t, 1, discard)[0]
		for range 120 {
			r.Report([]model.Problem{serviceProblem("web")})
			after(31 * time.Second)
			r.Report(nil)
			after(29 * time.Second)
		}
		if len(f.total().made) != 1 || f.total().counted < 2 || f.total().counted > 6 {
			t.Errorf("in two hours %d made, %d counted", len(f.total().made), f.total().counted)
		}
		// Objects that come and go, each of them new.
		for i := range 3 * mostEvents {
			r.Report([]model.Problem{serviceProblem(fmt.Sprint("s", i))})
			after(2 * time.Second)
		}
		r.Report(nil)
		after(time.Minute)
		if len(r.pending) > mostEvents {
			t.Errorf("remembers %d", len(r.pending))
		}
	})
}

// A node that counts with a clock that is ahead is not counted against, and the
// Event is made anew when it has expired.
func TestReporterClockOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeEvents()
		r := f.reporters(t, 1, discard)[0]
		r.Report([]model.Problem{serviceProblem("web")})
		after(first)
		f.look(func() {
			for _, e := range f.all {
				e.Series = &eventsv1.EventSeries{Count: 7, LastObservedTime: metav1.NewMicroTime(time.Now().Add(24 * time.Hour))}
			}
		})
		after(50 * time.Minute)
		if f.total().counted != 0 {
			t.Errorf("counted %d times", f.total().counted)
		}
		after(3 * time.Hour)
		if len(f.total().made) != 2 || len(f.events()) != 1 {
			t.Errorf("%d made, there are %+v", len(f.total().made), f.events())
		}
	})
}

func TestReporterRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeEvents()
		var log lockedBuffer
		f.refuse = denied(403, metav1.StatusReasonForbidden, "events is forbidden")
		r := f.reporters(t, 1, slog.New(slog.NewTextHandler(&log, nil)))[0]
		r.Report(broken(5))
		after(6 * time.Minute)
		if n := f.total().requests; n != 5 || strings.Count(log.String(), "forbidden") != 1 {
			t.Errorf("asked %d times, logged %s", n, log.String())
		}
		f.look(func() { f.refuse = nil })
		r.Report(append(broken(5), serviceProblem("last")))
		after(50 * time.Minute)
		if len(f.events()) != 6 || strings.Count(log.String(), "forbidden") != 1 {
			t.Errorf("%d Events, logged %s", len(f.events()), log.String())
		}
		// A namespace that ends takes no new ones, which is no one's fault.
		f.look(func() {
			f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPost {
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(http.StatusForbidden)
					_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"details":{"causes":[{"reason":"NamespaceTerminating"}]}}`))
				}
				return r.Method == http.MethodPost
			}
		})
		r.Report(append(broken(5), serviceProblem("ends")))
		after(10 * time.Minute)
		if f.total().codes[http.StatusForbidden] != 6 || strings.Count(log.String(), "level=WARN") != 1 {
			t.Errorf("answers %v, logged %s", f.total().codes, log.String())
		}
	})
}

// An API server that comes back gets the Events soon, and not from all nodes at once.
func TestReportersAfterAnOutage(t *testing.T) {
	for name, away := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"overloaded": denied(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "not now"),
		"hangs":      hang,
	} {
		for _, nodes := range []int{1, *reporters} {
			t.Run(fmt.Sprint(name, "/", nodes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const outage, known = 15 * time.Minute, 3
					f := newFakeEvents()
					f.refuse = away
					all := f.reporters(t, nodes, discard)
					report := func(problems int) {
						for _, r := range all {
							r.Report(broken(problems))
						}
					}
					report(known)
					after(outage)
					asked := f.total().requests
					if most := nodes * int(outage/paceSlow+10); asked > most {
						t.Errorf("%d requests by %d nodes during the outage", asked, nodes)
					}
					f.look(func() { f.refuse = nil })
					report(known + 1)
					after(2*time.Minute + eventTimeout)
					if n := len(f.events()); n != known+1 {
						t.Errorf("%d Events after two minutes, want %d", n, known+1)
					}
					most := f.busiest()
					if most > max(2, nodes/8) {
						t.Errorf("%d requests in one second by %d nodes", most, nodes)
					}
					t.Logf("%d nodes: %d requests during the outage, %d in the two minutes after it, at most %d in a second", nodes, asked, f.total().requests-asked, most)
				})
			})
		}
	}
}

// What a client does wrong stays wrong: it is not asked for again soon.
func TestReporterLeavesWhatIsRefused(t *testing.T) {
	for code, reason := range map[int]metav1.StatusReason{403: metav1.StatusReasonForbidden, 404: metav1.StatusReasonNotFound, 422: metav1.StatusReasonInvalid} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeEvents()
			f.refuse = denied(code, reason, "never")
			f.reporters(t, 1, discard)[0].Report(broken(2))
			after(eventAgain)
			if n := f.total().codes[code]; n > 2*2 { // one to look, one to write
				t.Errorf("asked %d times for 2 Events, each answered %d", n, code)
			}
		})
	}
}

// hang answers once the client gives up.
func hang(_ http.ResponseWriter, r *http.Request) bool {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
	return true
}

// Its end is no fault of the API server, and Report never waits for one.
func TestReporterEndsWhileServerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeEvents()
		f.refuse = hang
		var log lockedBuffer
		r := f.reporters(t, 1, slog.New(slog.NewTextHandler(&log, nil)))[0]
		began := time.Now()
		r.Report([]model.Problem{serviceProblem("web")})
		asked := func() int { return f.total().requests }
		for asked() == 0 {
			after(100 * time.Millisecond)
		}
		hangs := time.Now()
		r.Report([]model.Problem{serviceProblem("dns")})
		if !time.Now().Equal(hangs) || hangs.Sub(began) > first {
			t.Errorf("Report waited, or the first request came after %s", hangs.Sub(began))
		}
		t.Cleanup(func() { // after that of the Reporter, which waits for its end
			if took := time.Since(hangs); took > time.Second || log.String() != "" {
				t.Errorf("ended after %s, logged %s", took, log.String())
			}
		})
	})
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
