package health

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

var both = state.Families(true)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// loop is what a Health asks of the loop.
type loop struct {
	report.Backlog
	stuck time.Duration
}

// newHealth returns a Health, and the loop that it asks.
func newHealth(nodeExpected bool) (*Health, *loop) {
	l := &loop{}
	return New(Config{
		Families: both, SyncPeriod: 30 * time.Second, NodeExpected: nodeExpected,
		Backlog: func() report.Backlog { return l.Backlog }, Stuck: func() time.Duration { return l.stuck },
	}), l
}

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// The proxy does not keep up from the moment on that a change has waited for twice
// the sync period and nothing was programmed meanwhile. To start it again would
// not help.
func TestChangesWait(t *testing.T) {
	bad := errors.New("no buffer space")
	for _, tt := range []struct {
		name   string
		during func(*Health) // after a while of it
		reason string
	}{
		{"no round ends", func(*Health) {}, "changes have been waiting for 1m0s, and none was programmed"},
		{"rounds are aborted", func(h *Health) { h.Observe(&report.Round{Started: time.Now(), Err: bad, Unread: bad}) },
			"changes have been waiting for 1m0s, and none was programmed: no buffer space"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, l := newHealth(false)
				h.Observe(&report.Round{Started: time.Now()})
				l.Backlog = report.Backlog{Changes: report.Changes{Services: 1}, Since: time.Now()}
				time.Sleep(30 * time.Second)
				tt.during(h)
				time.Sleep(30*time.Second - time.Nanosecond)
				expectProbes(t, h, 200, 200)
				time.Sleep(time.Nanosecond)
				expectProbes(t, h, 200, 503)
				var a answer
				w := get(t, h.Handler(), "/healthz")
				if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || a.Healthy || a.Reason != tt.reason ||
					len(a.Status) != 2 || a.Status["IPv4"].Healthy || a.Status["IPv6"].Healthy {
					t.Errorf("%s, want reason %q", w.Body, tt.reason)
				}
				h.Observe(&report.Round{Started: time.Now()}) // something was programmed, but not yet all
				expectProbes(t, h, 200, 200)
				time.Sleep(time.Minute)
				expectProbes(t, h, 200, 503)
				l.Backlog = report.Backlog{}
				expectProbes(t, h, 200, 200)
			})
		})
	}
}

// A round that writes between two tries to read the kernel is progress, and leaves the reason.
func TestReasonBetweenTwoReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := newHealth(false)
		l.Backlog = report.Backlog{Changes: report.Changes{Services: 1}, Since: time.Now()}
		h.Observe(&report.Round{Started: time.Now(), Unread: errors.New("no buffer space")})
		time.Sleep(time.Minute)
		if why := h.Unhealthy(); why != "changes have been waiting for 1m0s, and none was programmed: no buffer space" {
			t.Error(why)
		}
	})
}

// expectProbes expects these answers of /livez and /healthz.
func expectProbes(t *testing.T, h *Health, livez, healthz int) {
	t.Helper()
	for path, want := range map[string]int{"/livez": livez, "/healthz": healthz} {
		if w := get(t, h.Handler(), path); w.Code != want {
			t.Errorf("%s: %d %s, want %d", path, w.Code, w.Body, want)
		}
	}
	if h.Healthy() != (healthz == 200) {
		t.Errorf("healthy is %v", h.Healthy())
	}
}

// Only a loop that does not move needs to be started again.
func TestStuck(t *testing.T) {
	h, l := newHealth(false)
	h.Observe(&report.Round{Started: time.Now()})
	l.stuck = time.Minute - time.Nanosecond
	expectProbes(t, h, 200, 200)
	l.stuck = time.Minute
	expectProbes(t, h, 503, 200)
	if w := get(t, h.Handler(), "/livez"); !strings.Contains(w.Body.String(), `"healthy":false,"reason":"the loop has not moved for 1m0s"`) {
		t.Errorf("livez: %s", w.Body)
	}
}

// Neither writes that fail, for any cause, nor rounds that are aborted take a
// node out of service as long as no change waits.
func TestFailuresAreNotHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHealth(false)
		h.Observe(&report.Round{Started: time.Now(), Failing: report.Failing{Node: 3, Object: 2, Foreign: 1, Blocked: 4, Since: time.Now(), First: "x"}})
		time.Sleep(time.Hour)
		expectProbes(t, h, 200, 200)
		h.Observe(&report.Round{Started: time.Now(), Err: errors.New("no buffer space")})
		time.Sleep(time.Hour)
		expectProbes(t, h, 200, 200)
	})
}

// What waits for the rest of the source to be read waits for no round.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := newHealth(false)
		l.Since = time.Now()
		time.Sleep(time.Hour)
		expectProbes(t, h, 200, 200)
		h.Observe(&report.Round{Started: time.Now(), Err: errors.New("no IPVS")})
		time.Sleep(time.Minute - time.Nanosecond)
		expectProbes(t, h, 200, 200)
		time.Sleep(time.Nanosecond)
		expectProbes(t, h, 200, 503)
	})
}

// The bodies are kube-proxy's, to the byte.
func TestBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it begins at 2000-01-01T00:00:00Z
		h, l := newHealth(true)
		h.SetNode(&corev1.Node{})
		h.Observe(&report.Round{Started: time.Now().UTC(), Took: time.Second})
		time.Sleep(10 * time.Second)
		check := func(path string, code int, body string) {
			t.Helper()
			w := get(t, h.Handler(), path)
			if w.Code != code || w.Body.String() != body {
				t.Errorf("%s: %d %s\nwant %d %s", path, w.Code, w.Body, code, body)
			}
			if ct, o := w.Header().Get("Content-Type"), w.Header().Get("X-Content-Type-Options"); ct != "application/json" || o != "nosniff" {
				t.Errorf("%s: headers %q, %q", path, ct, o)
			}
		}
		check("/healthz", 200, `{"lastUpdated":"2000-01-01T00:00:10Z","currentTime":"2000-01-01T00:00:10Z","nodeEligible":true,"healthy":true,`+
			`"status":{"IPv4":{"lastUpdated":"2000-01-01T00:00:01Z","healthy":true},"IPv6":{"lastUpdated":"2000-01-01T00:00:01Z","healthy":true}}}`)
		check("/livez", 200, `{"lastUpdated":"2000-01-01T00:00:10Z","currentTime":"2000-01-01T00:00:10Z","healthy":true,`+
			`"status":{"IPv4":{"lastUpdated":"2000-01-01T00:00:01Z","healthy":true},"IPv6":{"lastUpdated":"2000-01-01T00:00:01Z","healthy":true}}}`)
		h.SetNode(nil)
		check("/healthz", 503, `{"lastUpdated":"2000-01-01T00:00:01Z","currentTime":"2000-01-01T00:00:10Z","nodeEligible":false,"healthy":true,`+
			`"reason":"the Node object of this node is not known",`+
			`"status":{"IPv4":{"lastUpdated":"2000-01-01T00:00:01Z","healthy":true},"IPv6":{"lastUpdated":"2000-01-01T00:00:01Z","healthy":true}}}`)
		l.stuck = time.Minute
		time.Sleep(time.Minute)
		check("/livez", 503, `{"lastUpdated":"2000-01-01T00:00:01Z","currentTime":"2000-01-01T00:01:10Z","healthy":false,`+
			`"reason":"the loop has not moved for 1m0s",`+
			`"status":{"IPv4":{"lastUpdated":"2000-01-01T00:00:01Z","healthy":false},"IPv6":{"lastUpdated":"2000-01-01T00:00:01Z","healthy":false}}}`)
		for _, c := range []struct {
			code string
			want float64
		}{{"200", 1}, {"503", 1}} {
			if got := testutil.ToFloat64(h.healthz.WithLabelValues(c.code)); got != c.want {
				t.Errorf("healthz %s: %v", c.code, got)
			}
			if got := testutil.ToFloat64(h.livez.WithLabelValues(c.code)); got != c.want {
				t.Errorf("livez %s: %v", c.code, got)
			}
		}
	})
}

// Times of a body are comparable in each time zone.
func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

func TestNode(t *testing.T) {
	now := metav1.Now()
	taint := func(key string) *corev1.Node {
		return &corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "other", Effect: corev1.TaintEffectNoSchedule}, {Key: key, Effect: corev1.TaintEffectNoSchedule}}}}
	}
	tests := []struct {
		name     string
		expected bool
		node     *corev1.Node
		code     int
	}{
		{"there", true, &corev1.Node{}, 200},
		{"there, not expected", false, &corev1.Node{}, 200},
		{"unknown", true, nil, 503},
		{"none expected", false, nil, 200},
		{"being deleted", true, &corev1.Node{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}}, 503},
		{"being deleted, not expected", false, &corev1.Node{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}}, 503},
		{"about to be deleted", true, taint("ToBeDeletedByClusterAutoscaler"), 503},
		{"other taint", true, taint("DeletionCandidateOfClusterAutoscaler"), 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := newHealth(tt.expected)
			h.SetNode(tt.node)
			if w := get(t, h.Handler(), "/healthz"); w.Code != tt.code {
				t.Errorf("healthz: %d %s", w.Code, w.Body)
			}
			if w := get(t, h.Handler(), "/livez"); w.Code != 200 || strings.Contains(w.Body.String(), "nodeEligible") {
				t.Errorf("livez: %d %s", w.Code, w.Body)
			}
			h.SetNode(&corev1.Node{})
			if w := get(t, h.Handler(), "/healthz"); w.Code != 200 {
				t.Errorf("well again: %d %s", w.Code, w.Body)
			}
		})
	}
	h, _ := newHealth(true)
	if w := get(t, h.Handler(), "/healthz"); w.Code != 503 {
		t.Errorf("node not told yet: %d", w.Code)
	}
}

func TestReady(t *testing.T) {
	h, _ := newHealth(true)
	check := func(code int, body string) {
		t.Helper()
		if w := get(t, h.Handler(), "/readyz"); w.Code != code || w.Body.String() != body {
			t.Errorf("%d %s, want %d %s", w.Code, w.Body, code, body)
		}
	}
	check(503, `{"ready":false,"reason":"nothing has been programmed yet"}`)
	h.Observe(&report.Round{Err: errors.New("no IPVS"), NotReady: "no IPVS"})
	check(503, `{"ready":false,"reason":"no IPVS"}`)
	h.Observe(&report.Round{NotReady: "add vip 10.0.0.1: no device"})
	check(503, `{"ready":false,"reason":"add vip 10.0.0.1: no device"}`)
	h.Observe(&report.Round{})
	check(200, `{"ready":true}`)
	h.Observe(&report.Round{Err: errors.New("no IPVS")})
	h.Observe(&report.Round{NotReady: "late"})
	check(200, `{"ready":true}`)
}
