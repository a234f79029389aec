package source

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// object of an API server: a pointer to an API type.
type apiObject interface {
	runtime.Object
	metav1.Object
}

// change is what a watch tells.
type change struct {
	version  int
	resource string
	kind     string // ADDED, MODIFIED, DELETED
	object   json.RawMessage
}

// fakeAPI is an API server that lists and watches in JSON. It ignores label
// selectors, and field selectors of anything but Nodes.
type fakeAPI struct {
	*httptest.Server

	mu       sync.Mutex
	news     chan struct{} // closed and replaced at every change
	version  int
	oldest   int // changes before it are forgotten: 410
	objects  map[string]map[string]json.RawMessage
	changes  []change
	cuts     int // streams of an earlier count end
	requests []string
	// fault answers instead, if it returns true. It may block.
	fault func(w http.ResponseWriter, r *http.Request) bool
}

func newFakeAPI(t *testing.T) *fakeAPI {
	t.Helper()
	f := &fakeAPI{news: make(chan struct{}), version: 100, objects: map[string]map[string]json.RawMessage{}}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.end)
	return f
}

// end ends it and all connections: at first it takes no more of them.
func (f *fakeAPI) end() {
	_ = f.Listener.Close()
	f.CloseClientConnections()
	f.Close()
}

func (f *fakeAPI) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.news)
	f.news = make(chan struct{})
}

// look calls do with the lock held.
func (f *fakeAPI) look(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func resourceOf(o runtime.Object) string {
	switch o.(type) {
	case *corev1.Service:
		return "services"
	case *discoveryv1.EndpointSlice:
		return "endpointslices"
	}
	return "nodes"
}

// put writes objects, each in a new version.
func (f *fakeAPI) put(objects ...apiObject) { f.write(false, objects...) }

func (f *fakeAPI) remove(objects ...apiObject) { f.write(true, objects...) }

func (f *fakeAPI) write(gone bool, objects ...apiObject) {
	f.change(func() {
		for _, o := range objects {
			f.version++
			resource := resourceOf(o)
			all := f.objects[resource]
			if all == nil {
				all = map[string]json.RawMessage{}
				f.objects[resource] = all
			}
			kind := "ADDED"
			if all[o.GetName()] != nil {
				kind = "MODIFIED"
			}
			o.SetResourceVersion(strconv.Itoa(f.version))
			raw, err := json.Marshal(o)
			if err != nil {
				panic(err)
			}
			all[o.GetName()] = raw
			if gone {
				kind = "DELETED"
				delete(all, o.GetName())
			}
			f.changes = append(f.changes, change{f.version, resource, kind, raw})
		}
	})
}

// cut ends all streams.
func (f *fakeAPI) cut() { f.change(func() { f.cuts++ }) }

// forget makes every version before now too old, and ends all streams.
func (f *fakeAPI) forget() {
	f.change(func() {
		f.version++
		f.oldest = f.version
		f.changes = nil
		f.cuts++
	})
}

func (f *fakeAPI) setFault(fault func(w http.ResponseWriter, r *http.Request) bool) {
	f.change(func() { f.fault = fault })
}

func (f *fakeAPI) serve(w http.ResponseWriter, r *http.Request) {
	var fault func(http.ResponseWriter, *http.Request) bool
	f.change(func() {
		f.requests = append(f.requests, r.Method+" "+r.URL.Path+"?"+r.URL.RawQuery+"&") // each parameter ends with one
		fault = f.fault
	})
	if fault != nil && fault(w, r) {
		return
	}
	resource := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	q := r.URL.Query()
	name, _ := strings.CutPrefix(q.Get("fieldSelector"), "metadata.name=")
	if resource != "nodes" {
		name = ""
	}
	switch {
	case q.Get("watch") != "":
		f.watch(w, r, resource, name)
	default:
		f.list(w, resource, name)
	}
}

// state returns the objects of a resource in the order of names. The lock is held.
func (f *fakeAPI) state(resource, name string) []json.RawMessage {
	var names []string
	for n := range f.objects[resource] {
		if name == "" || n == name {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	all := []json.RawMessage{}
	for _, n := range names {
		all = append(all, f.objects[resource][n])
	}
	return all
}

var apiKinds = map[string][2]string{"services": {"v1", "Service"}, "nodes": {"v1", "Node"}, "endpointslices": {"discovery.k8s.io/v1", "EndpointSlice"}}

func (f *fakeAPI) list(w http.ResponseWriter, resource, name string) {
	f.mu.Lock()
	items, version := f.state(resource, name), f.version
	f.mu.Unlock()
	kind := apiKinds[resource]
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"apiVersion": kind[0], "kind": kind[1] + "List", "items": items, "metadata": map[string]string{"resourceVersion": strconv.Itoa(version)},
	})
}

func (f *fakeAPI) watch(w http.ResponseWriter, r *http.Request, resource, name string) {
	q := r.URL.Query()
	from, _ := strconv.Atoi(q.Get("resourceVersion"))
	f.mu.Lock()
	oldest, cuts := f.oldest, f.cuts
	f.mu.Unlock()
	if from < oldest {
		refuse(w, http.StatusGone, metav1.StatusReasonExpired, "too old resource version")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	tell := func(kind string, object json.RawMessage) {
		_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": object})
	}
	f.follow(w, r, resource, name, from, cuts, tell)
}

// follow tells what comes after a version until the stream is cut.
func (f *fakeAPI) follow(w http.ResponseWriter, r *http.Request, resource, name string, from, cuts int, tell func(string, json.RawMessage)) {
	defer f.change(func() {})
	for {
		f.mu.Lock()
		news, end := f.news, f.cuts != cuts
		for _, c := range f.changes {
			var meta metav1.PartialObjectMetadata
			_ = json.Unmarshal(c.object, &meta)
			if c.resource == resource && c.version > from && (name == "" || meta.Name == name) {
				tell(c.kind, c.object)
				from = c.version
			}
		}
		f.mu.Unlock()
		w.(http.Flusher).Flush()
		if end {
			return
		}
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
}

// refuse answers with a Status.
func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
	})
}

// count returns how many requests contain all parts.
func (f *fakeAPI) count(parts ...string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.requests {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(r, p) }) {
			n++
		}
	}
	return n
}
