package source

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

func apiService(name string) *corev1.Service {
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "uid-" + "1"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.10", Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

func apiSlice(name, service string, ips ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		TypeMeta:    metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, ip := range ips {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip}})
	}
	return s
}

func apiNode(name string) *corev1.Node {
	return &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// dials counts the connections that were tried by all sources.
var dials atomic.Int32

// awaitDials waits for so many more of them, which a server that is down
// cannot count itself. Waits between them have become long by then.
func (f *fakeAPI) awaitDials(t *testing.T, n int32) {
	t.Helper()
	until := dials.Load() + n
	for deadline := time.Now().Add(20 * time.Second); dials.Load() < until; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections too few were tried", until-dials.Load())
		}
	}
}

// startAPI follows fake API servers until stop, which waits for Run.
func startAPI(t *testing.T, servers ...string) (r *recorder, stop func()) {
	t.Helper()
	var configs []*rest.Config
	for _, s := range servers {
		configs = append(configs, &rest.Config{Host: s, QPS: -1, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}})
	}
	src, err := API(APIOptions{Configs: configs, NodeName: "here"})
	if err != nil {
		t.Fatal(err)
	}
	r = newRecorder()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx, r) }()
	ended := false
	stop = func() {
		cancel()
		if ended {
			return
		}
		ended = true
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(2 * time.Second):
			t.Error("Run goes on after its end")
			<-done //nolint:errcheck // the test has failed already
		}
	}
	t.Cleanup(stop)
	return r, stop
}

// followAPI is startAPI for a server that has a node, once all is delivered.
func followAPI(t *testing.T, f *fakeAPI, objects ...apiObject) *recorder {
	t.Helper()
	f.put(append(objects, apiNode("here"))...)
	r, _ := startAPI(t, f.URL)
	r.awaitSynced(t)
	return r
}

// on returns a fault for the requests whose path ends like that.
func on(suffix string, answer func(w http.ResponseWriter, r *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, suffix) && answer(w, r)
	}
}

func denied(code int, reason metav1.StatusReason, message string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		refuse(w, code, reason, message)
		return true
	}
}

// await waits until something is so on the server.
func (f *fakeAPI) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		f.mu.Lock()
		news := f.news
		f.mu.Unlock()
		if ok() {
			return
		}
		select {
		case <-news:
		case <-deadline:
			f.look(func() { t.Fatalf("the server never saw: %s\n%s", what, strings.Join(f.requests, "\n")) })
		}
	}
}

func TestClusterNothingBeforeAllIsThere(t *testing.T) {
	f := newFakeAPI(t)
	f.put(apiService("web"), apiSlice("web-1", "web", "10.0.0.1"), apiNode("here"), apiNode("other"))
	slow := make(chan struct{})
	f.fault = on("/endpointslices", func(http.ResponseWriter, *http.Request) bool { <-slow; return false })
	r, _ := startAPI(t, f.URL)
	// A change that is seen before the slow list has come.
	f.await(t, "a watch of services", func() bool { return f.count("/services", "watch=true") > 0 })
	f.put(apiService("late"))
	f.await(t, "slices asked for", func() bool { return f.count("/endpointslices") > 0 })
	r.look(func() {
		if len(r.batches) != 0 || r.synced != 0 {
			t.Errorf("told before all was there: %q", r.batches)
		}
	})
	close(slow)
	r.awaitNames(t, "here late web web-1")
	r.awaitSynced(t)
	r.look(func() {
		if !strings.Contains(r.batches[0], "+here") || !strings.Contains(r.batches[0], "+web +web-1") {
			t.Errorf("first delivery is %q, not everything", r.batches[0])
		}
	})
	f.put(apiService("new"))
	r.awaitNames(t, "here late new web web-1")
}

func TestClusterRelistIsExact(t *testing.T) {
	ways := map[string]func(*fakeAPI){"cut": (*fakeAPI).cut, "expired": (*fakeAPI).forget}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			f := newFakeAPI(t)
			stays, goes := apiService("stays"), apiService("goes")
			r := followAPI(t, f, stays, goes, apiService("changes"), apiSlice("slice", "stays", "10.0.0.1"))
			var before int
			r.look(func() { before = len(r.batches) })
			f.setFault(denied(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "restarting"))
			f.cut()
			r.awaitProblem(t, "services")
			f.remove(goes)
			f.put(apiService("changes"), apiService("comes"))
			way(f)
			f.setFault(nil)
			r.awaitNames(t, "changes comes here slice stays")
			r.awaitWell(t)
			r.look(func() {
				for _, b := range r.batches[before:] {
					if strings.Contains(b, "stays") || strings.Contains(b, "slice") || strings.Contains(b, "here") {
						t.Errorf("delivered again what did not change: %q", b)
					}
				}
				if all := strings.Join(r.batches[before:], " "); strings.Count(all, "changes") != 1 || strings.Count(all, "-goes") != 1 {
					t.Errorf("told %q", all)
				}
			})
		})
	}
}

func TestClusterNode(t *testing.T) {
	f := newFakeAPI(t)
	f.put(apiService("web"), apiNode("other"))
	r, _ := startAPI(t, f.URL)
	r.awaitSynced(t)
	r.awaitProblem(t, "Node here")
	r.awaitNames(t, "web")
	here := apiNode("here")
	f.put(here)
	r.awaitNames(t, "here web")
	r.awaitWell(t)
	f.remove(here)
	r.awaitNames(t, "web")
	r.awaitProblem(t, "Node here")
}

// A Node that cannot be read does not keep Services from being served.
func TestClusterNodeForbidden(t *testing.T) {
	f := newFakeAPI(t)
	f.put(apiService("web"), apiNode("here"))
	f.fault = on("/nodes", denied(403, metav1.StatusReasonForbidden, "no"))
	r, _ := startAPI(t, f.URL)
	r.awaitProblem(t, "nodes")
	r.awaitSynced(t)
	r.awaitNames(t, "web")
}
