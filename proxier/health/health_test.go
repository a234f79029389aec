package health

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs/proxier"
)

var both = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// newHealth returns a Health with a backlog to set.
func newHealth(nodeExpected bool) (*Health, *proxier.Backlog) {
	b := &proxier.Backlog{}
	return New(Config{Families: both, SyncPeriod: 30 * time.Second, NodeExpected: nodeExpected, Backlog: func() proxier.Backlog { return *b }}), b
}

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// A family is unhealthy from the moment on that something has lasted for twice
// the sync period, and healthy as soon as it is over.
func TestLate(t *testing.T) {
	bad := errors.New("no buffer space")
	tests := []struct {
		name   string
		begin  func(*Health, *proxier.Backlog)
		during func(*Health) // after a while of it
		end    func(*Health, *proxier.Backlog)
		reason string
	}{
		{
			name: "change waits",
			begin: func(_ *Health, b *proxier.Backlog) {
				*b = proxier.Backlog{Changes: proxier.Changes{Services: 1}, Since: time.Now()}
			},
			end:    func(_ *Health, b *proxier.Backlog) { *b = proxier.Backlog{} },
			reason: "a change has been waiting for 1m0s",
		},
		{
			name: "node's writes fail",
			begin: func(h *Health, _ *proxier.Backlog) {
				h.Observe(&proxier.Round{Started: time.Now(), Failing: proxier.Failing{Count: 2, Since: time.Now(), First: "add vip 10.0.0.1: no device"}})
			},
			// An aborted round says nothing of writes.
			during: func(h *Health) { h.Observe(&proxier.Round{Started: time.Now(), Err: bad}) },
			end:    func(h *Health, _ *proxier.Backlog) { h.Observe(&proxier.Round{Started: time.Now()}) },
			reason: "writing has failed for 1m0s: add vip 10.0.0.1: no device",
		},
		{
			name:   "reading fails",
			begin:  func(h *Health, _ *proxier.Backlog) { h.Observe(&proxier.Round{Started: time.Now(), Err: bad}) },
			during: func(h *Health) { h.Observe(&proxier.Round{Started: time.Now(), Err: bad}) },
			end:    func(h *Health, _ *proxier.Backlog) { h.Observe(&proxier.Round{Started: time.Now()}) },
			reason: "reading has failed for 1m0s: no buffer space",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, b := newHealth(false)
				h.Observe(&proxier.Round{Started: time.Now()})
				tt.begin(h, b)
				time.Sleep(30 * time.Second)
				if tt.during != nil {
					tt.during(h)
				}
				turnsBad(t, h, tt.reason)
				tt.end(h, b)
				if w := get(t, h.Handler(), "/livez"); w.Code != 200 {
					t.Errorf("after it: %d %s", w.Code, w.Body)
				}
			})
		})
	}
}

// turnsBad expects that h turns unhealthy after 30 seconds more.
func turnsBad(t *testing.T, h *Health, reason string) {
	t.Helper()
	time.Sleep(30*time.Second - time.Nanosecond)
	if w := get(t, h.Handler(), "/livez"); w.Code != 200 || !h.Healthy() {
		t.Fatalf("before the time: %d %s", w.Code, w.Body)
	}
	time.Sleep(time.Nanosecond)
	w := get(t, h.Handler(), "/livez")
	var a answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 503 || a.Healthy || h.Healthy() || a.Reason != reason {
		t.Fatalf("%d %s, want reason %q", w.Code, w.Body, reason)
	}
	if len(a.Status) != 2 || a.Status["IPv4"].Healthy || a.Status["IPv6"].Healthy {
		t.Errorf("status %v", a.Status)
	}
	if w := get(t, h.Handler(), "/healthz"); w.Code != 503 || !strings.Contains(w.Body.String(), reason) {
		t.Errorf("healthz: %d %s", w.Code, w.Body)
	}
}

// What waits for the rest of the source to be read waits for nobody here.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, b := newHealth(false)
		b.Since = time.Now()
		time.Sleep(time.Hour)
		if !h.Healthy() {
			t.Error("unhealthy before the first round")
		}
		h.Observe(&proxier.Round{Started: time.Now(), Err: errors.New("no IPVS")})
		time.Sleep(time.Minute - time.Nanosecond)
		if !h.Healthy() {
			t.Error("unhealthy because of the time before the first round")
		}
		time.Sleep(time.Nanosecond)
		if h.Healthy() {
			t.Error("healthy a minute after the first round failed")
		}
	})
}

// Failures that are a neighbour's fault have no Since: they never count.
func TestNeighboursFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHealth(false)
		h.Observe(&proxier.Round{Started: time.Now(), Failing: proxier.Failing{Count: 3, Others: 3}})
		time.Sleep(time.Hour)
		if !h.Healthy() {
			t.Error("unhealthy")
		}
	})
}

// The bodies are kube-proxy's, to the byte.
func TestBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it begins at 2000-01-01T00:00:00Z
		h, b := newHealth(true)
		h.SetNode(&corev1.Node{})
		h.Observe(&proxier.Round{Started: time.Now().UTC(), Took: time.Second})
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
		b.Since = time.Now()
		time.Sleep(time.Minute)
		check("/livez", 503, `{"lastUpdated":"2000-01-01T00:00:01Z","currentTime":"2000-01-01T00:01:10Z","healthy":false,`+
			`"reason":"a change has been waiting for 1m0s",`+
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

// Times of a body are comparable wherever the tests run. Set before anybody reads it.
func init() { time.Local = time.UTC }

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
	h.Observe(&proxier.Round{Err: errors.New("no IPVS")})
	check(503, `{"ready":false,"reason":"no IPVS"}`)
	h.Observe(&proxier.Round{NotReady: "add vip 10.0.0.1: no device"})
	check(503, `{"ready":false,"reason":"add vip 10.0.0.1: no device"}`)
	h.Observe(&proxier.Round{})
	check(200, `{"ready":true}`)
	h.Observe(&proxier.Round{Err: errors.New("no IPVS")})
	h.Observe(&proxier.Round{NotReady: "late"})
	check(200, `{"ready":true}`)
}
