package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

// kindOf returns a kind by its plural.
func kindOf(t *testing.T, name string) kind {
	t.Helper()
	for _, k := range (APIOptions{NodeName: "here"}).kinds() {
		if k.name == name {
			return k
		}
	}
	t.Fatalf("no kind %s", name)
	return kind{}
}

// encoded returns a list as an API server writes it.
func encoded(t *testing.T, e runtime.Encoder, list runtime.Object) []byte {
	t.Helper()
	kinds, _, err := apiScheme.ObjectKinds(list)
	must(t, err)
	list.GetObjectKind().SetGroupVersionKind(kinds[0])
	var out bytes.Buffer
	must(t, e.Encode(list, &out))
	return out.Bytes()
}

func listOf(names ...string) *discoveryv1.EndpointSliceList {
	list := &discoveryv1.EndpointSliceList{ListMeta: metav1.ListMeta{ResourceVersion: "42"}}
	for _, name := range names {
		s := apiSlice(name, "web", "10.0.0.1", "10.0.0.2")
		s.TypeMeta = metav1.TypeMeta{}
		dress(&s.ObjectMeta, map[string]string{discoveryv1.LabelManagedBy: "x"})
		list.Items = append(list.Items, *s)
	}
	return list
}

// However a list is encoded, and whatever has to be made of it, nothing of it is missing.
func TestDecodeList(t *testing.T) {
	k := kindOf(t, "endpointslices")
	for name, e := range map[string]runtime.Encoder{
		"protobuf": protobuf.NewSerializer(apiScheme, apiScheme), "JSON": json.NewSerializerWithOptions(json.DefaultMetaFactory, apiScheme, apiScheme, json.SerializerOptions{}),
	} {
		for _, want := range []*discoveryv1.EndpointSliceList{listOf(), listOf("a"), listOf("b", "a", strings.Repeat("long", 50))} {
			got, err := decodeList(bytes.NewReader(encoded(t, e, want)), k, slimmer(false))
			must(t, err)
			m, err := meta.ListAccessor(got)
			must(t, err)
			items, err := meta.ExtractList(got)
			must(t, err)
			if m.GetResourceVersion() != "42" || len(items) != len(want.Items) {
				t.Fatalf("%s: %d items in version %s, want %d in 42", name, len(items), m.GetResourceVersion(), len(want.Items))
			}
			slim := slimmer(false)
			for i := range items {
				got, err := slim(items[i])
				must(t, err)
				got.(runtime.Object).GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{}) // of JSON; protobuf has none in a list
				want, err := slim(&want.Items[i])
				must(t, err)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: -want +got\n%s", name, diff)
				}
			}
		}
	}
}

// What is not a whole list of the kind is none: it must not be taken for a shorter one.
func TestDecodeListRefuses(t *testing.T) {
	k := kindOf(t, "endpointslices")
	proto := protobuf.NewSerializer(apiScheme, apiScheme)
	whole := encoded(t, proto, listOf("a", "b", "c"))
	bad := map[string][]byte{
		"nothing": nil, "JSON of nothing": []byte("{}"), "a Status": []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":500}`),
		"another list":               encoded(t, proto, &corev1.ServiceList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}),
		"no version":                 encoded(t, proto, &discoveryv1.EndpointSliceList{}),
		"another list of JSON":       []byte(`{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}`),
		"a list of JSON of anything": []byte(`{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}`),
		"no kind":                    []byte(`{"metadata":{"resourceVersion":"1"},"items":[]}`),
		"YAML":                       []byte("kind: EndpointSliceList\napiVersion: discovery.k8s.io/v1\nmetadata: {resourceVersion: '1'}\nitems:\n"),
		"an object":                  encoded(t, proto, apiSlice("a", "web")),
		"a number":                   append([]byte("k8s\x00"), 0x10, 1),
		"a long field":               append([]byte("k8s\x00"), 0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 1),
	}
	for name, text := range bad {
		if list, err := decodeList(bytes.NewReader(text), k, slimmer(false)); err == nil {
			t.Errorf("%s was taken for %v", name, list)
		}
	}
	// Behind the list there are only empty fields, which may be missing.
	items := bytes.LastIndex(whole, []byte("10.0.0.2"))
	for n := range items + len("10.0.0.2") {
		if list, err := decodeList(bytes.NewReader(whole[:n]), k, slimmer(false)); err == nil {
			t.Fatalf("the first %d of %d bytes were taken for %v", n, len(whole), list)
		}
	}
}

// A length is believed as far as bytes come, and why no more do is told.
func TestDecodeListBelievesNoLength(t *testing.T) {
	lost := errors.New("http2: client connection lost")
	answer := io.MultiReader(strings.NewReader("k8s\x00\x0a\xff\xff\xff\xff\x07some"), errorReader{lost})
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	_, err := decodeList(answer, kindOf(t, "endpointslices"), slimmer(false))
	goruntime.ReadMemStats(&after)
	if !errors.Is(err, lost) {
		t.Errorf("the list ended with %v, want %v", err, lost)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes were allocated for an answer of some", n)
	}
}

// A start asks for the newest objects: old ones would take back what is programmed. No list
// has a limit, with which API servers read all from etcd.
func TestListIsOfNow(t *testing.T) {
	f := newFakeAPI(t)
	f.put(apiService("web"), apiNode("here"))
	s := tellAPI(t, f.URL)
	s.awaitSynced(t)
	if n := f.count("/services?", "resourceVersion=") - f.count("/services?", "watch=true"); n != 0 {
		t.Errorf("%d first lists ask for a version", n)
	}
	lists := func() int { return f.count("/services?") - f.count("/services?", "watch=true") }
	before := lists()
	f.forget()
	f.await(t, "another list", func() bool { return lists() > before })
	if n := f.count("resourceVersion=0&") + f.count("limit="); n != 0 {
		t.Errorf("%d lists may be old, or have a limit", n)
	}
}

// latencies is a metric that notes the addresses of requests. It is set before any client
// runs, which reads it without a lock.
type latencies struct{ urls sync.Map }

var measured latencies

func (l *latencies) Observe(_ context.Context, verb string, u url.URL, _ time.Duration) {
	l.urls.Store(verb+" http://"+u.Host+u.Path, true)
}

// The metric rest_client_request_duration_seconds has lists, as that of kube-proxy.
func TestListIsMeasured(t *testing.T) {
	f := newFakeAPI(t)
	f.put(apiService("web"), apiNode("here"))
	s := tellAPI(t, f.URL)
	s.awaitSynced(t)
	if _, ok := measured.urls.Load("GET " + f.URL + "/api/v1/services"); !ok {
		t.Error("a list is not measured")
	}
}
