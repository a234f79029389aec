package model

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"pgregory.net/rapid"
)

// event is one call of a Model.
type event struct {
	svc    *corev1.Service
	es     *discoveryv1.EndpointSlice
	delete bool
}

func (e event) object() string {
	if e.svc != nil {
		return "service " + e.svc.Name
	}
	return "slice " + e.es.Name
}

func (e event) apply(m *Model) {
	switch {
	case e.svc != nil && e.delete:
		m.DeleteService(Key{e.svc.Namespace, e.svc.Name})
	case e.svc != nil:
		m.ApplyService(e.svc, "")
	case e.delete:
		m.DeleteSlice(e.es.Namespace, e.es.Name)
	default:
		m.ApplySlice(e.es, "")
	}
}

// drawService draws one of few services, so that versions meet; something may be odd.
func drawService(t *rapid.T) *corev1.Service {
	return service(func(s *corev1.Service) {
		s.Name = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "service")
		switch rapid.IntRange(0, 7).Draw(t, "form") {
		case 0:
			s.Spec.ClusterIP = "None"
		case 1:
			dual(s)
		case 2:
			loadBalancer(s)
		case 3:
			s.Spec.Ports = []corev1.ServicePort{{Name: "x", Port: 80}, {Name: "y", Port: 80, Protocol: "UDP"}}
		case 4:
			s.Spec.Ports = []corev1.ServicePort{{Name: "x", Port: 80}, {Name: "y", Port: 70000}}
			s.Spec.ExternalIPs = []string{"239.1.2.3", "192.0.2.7"}
		case 5:
			s.Spec.ClusterIP = "10.96.0.300"
		}
	})
}

func drawSlice(t *rapid.T) *discoveryv1.EndpointSlice {
	prefix := rapid.SampledFrom([]string{"10.0.0.", "fd00::"}).Draw(t, "prefix")
	words := []string{"", " node=n1", " node=n2", " notready", " terminating", " notready terminating", " zone=za", " zone=za,zb fornode=n1", " notready notserving terminating"}
	var specs []string
	for range rapid.IntRange(0, 4).Draw(t, "endpoints") {
		specs = append(specs, fmt.Sprintf("%s%d%s%s", prefix, rapid.IntRange(1, 4).Draw(t, "host"),
			rapid.SampledFrom(words).Draw(t, "word"), rapid.SampledFrom(words[:3]).Draw(t, "word")))
	}
	es := named(rapid.SampledFrom([]string{"s1", "s2", "s3", "s4"}).Draw(t, "slice"), endpoints(specs...))
	if rapid.IntRange(0, 3).Draw(t, "odd") == 0 {
		es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{Addresses: []string{"127.0.0.1"}})
	}
	es.Labels[discoveryv1.LabelServiceName] = rapid.SampledFrom([]string{"a", "b", "c", ""}).Draw(t, "of")
	es.Ports[0].Name = new(rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "port"))
	return es
}

func drawEvents(t *rapid.T) []event {
	events := make([]event, rapid.IntRange(0, 30).Draw(t, "events"))
	for i := range events {
		if rapid.Bool().Draw(t, "kind") {
			events[i].svc = drawService(t)
		} else {
			events[i].es = drawSlice(t)
		}
		events[i].delete = rapid.IntRange(0, 3).Draw(t, "delete") == 0
	}
	return events
}

// views returns every view of a model.
func views(m *Model) map[Key]View {
	all := map[Key]View{}
	for _, key := range m.Keys() {
		all[key] = kept(m.View(key))
	}
	return all
}

func TestIncrementalEqualsFromScratch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(Node{Name: "n1", Zone: "za"})
		last := map[string]event{}
		before := views(m)
		for _, e := range drawEvents(t) {
			e.apply(m)
			last[e.object()] = e
			now := views(m)
			if n, _ := m.Size(); n != len(now) {
				t.Fatalf("%d services, but %d views", n, len(now))
			}
			dirty := m.TakeDirty()
			for _, name := range []string{"a", "b", "c"} {
				key := Key{"default", name}
				if !reflect.DeepEqual(before[key], now[key]) && !slices.Contains(dirty, key) {
					t.Fatalf("%s changed and is not dirty", key)
				}
			}
			before = now
		}
		scratch := New(Node{Name: "n1", Zone: "za"})
		for _, e := range last { // in the random order of maps
			e.apply(scratch)
		}
		if got, want := before, views(scratch); !reflect.DeepEqual(got, want) {
			t.Fatalf("incremental %+v\nfrom scratch %+v", got, want)
		}
		if got, want := m.Board().List(), scratch.Board().List(); !slices.Equal(got, want) {
			t.Fatalf("problems %v\nfrom scratch %v", got, want)
		}
	})
}

// kept returns v for longer than until the next View.
func kept(v View, _ bool) View {
	for f := range v.Endpoints {
		v.Endpoints[f] = slices.Clone(v.Endpoints[f])
		for i := range v.Endpoints[f] {
			e := &v.Endpoints[f][i]
			e.Cluster = slices.Clone(e.Cluster)
		}
	}
	return v
}

func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		m := New(Node{Name: "n1", Zone: "za"})
		for _, e := range events {
			e.apply(m)
		}
		// Events of one object keep their order; objects mix at random.
		queues := map[string][]event{}
		var objects []string
		for _, e := range events {
			queues[e.object()] = append(queues[e.object()], e)
			objects = append(objects, e.object())
		}
		other := New(Node{Name: "n2"})
		for _, o := range rapid.Permutation(objects).Draw(t, "order") {
			queues[o][0].apply(other)
			queues[o] = queues[o][1:]
		}
		other.SetNode(Node{Name: "n1", Zone: "za"})
		if got, want := views(other), views(m); !reflect.DeepEqual(got, want) {
			t.Fatalf("shuffled %+v\nin order %+v", got, want)
		}
		if again := views(m); !reflect.DeepEqual(again, views(m)) {
			t.Fatal("View is not deterministic")
		}
	})
}

func TestEndpointsAreSortedAndPlausible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(Node{Name: "n1", Zone: "za"})
		for _, e := range drawEvents(t) {
			e.apply(m)
		}
		for key, v := range views(m) {
			for _, e := range slices.Concat(v.Endpoints[:]...) {
				for _, list := range [][]string{stringsOf(e.Cluster), stringsOf(e.Local), stringsOf(e.OnNode)} {
					if len(slices.Compact(slices.Clone(list))) != len(list) {
						t.Fatalf("%s has duplicates: %v", key, list)
					}
				}
				if e.Any != (len(e.Cluster) > 0) {
					t.Fatalf("%s: any is %v, cluster %v", key, e.Any, e.Cluster)
				}
				for _, a := range e.Local {
					if !slices.Contains(e.OnNode, a) {
						t.Fatalf("%s: %v is local and not on the node", key, a)
					}
				}
			}
		}
	})
}

func stringsOf[T interface{ String() string }](in []T) []string {
	var out []string
	for _, v := range in {
		out = append(out, v.String())
	}
	return out
}
