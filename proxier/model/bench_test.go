package model

import (
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// cluster returns n services with ten endpoints each, on 500 nodes in three zones.
func cluster(n int) (svcs []*corev1.Service, sls []*discoveryv1.EndpointSlice) {
	for i := range n {
		name := fmt.Sprintf("web-%05d", i)
		svcs = append(svcs, service(rename("default", name), func(s *corev1.Service) {
			s.Spec.ClusterIP = fmt.Sprintf("10.96.%d.%d", i/250, 1+i%250)
		}))
		var specs []string
		for j := range 10 {
			id := i*10 + j
			specs = append(specs, fmt.Sprintf("10.%d.%d.%d node=node-%d zone=z%d", 1+id/62500, id/250%250, 1+id%250, id%500, id%3))
		}
		es := named(name+"-abcde", endpoints(specs...))
		es.Labels[discoveryv1.LabelServiceName] = name
		sls = append(sls, es)
	}
	return svcs, sls
}

func BenchmarkLoad(b *testing.B) {
	svcs, sls := cluster(10000)
	heap := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	var m *Model
	before := heap()
	b.ReportAllocs()
	for b.Loop() {
		m = New(Node{Name: "node-1", Zone: "z1"})
		for i := range svcs {
			m.ApplyService(svcs[i], "")
			m.ApplySlice(sls[i], "")
		}
		m.TakeDirty()
	}
	b.ReportMetric(float64(heap()-before)/100000, "heap-B/endpoint")
	runtime.KeepAlive(m)
	runtime.KeepAlive(svcs)
	runtime.KeepAlive(sls)
}

func BenchmarkViews(b *testing.B) {
	svcs, sls := cluster(10000)
	m := New(Node{Name: "node-1", Zone: "z1"})
	for i := range svcs {
		m.ApplyService(svcs[i], "")
		m.ApplySlice(sls[i], "")
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, key := range m.Keys() {
			m.View(key)
		}
	}
}

func BenchmarkChange(b *testing.B) {
	svcs, sls := cluster(10000)
	m := New(Node{Name: "node-1", Zone: "z1"})
	for i := range svcs {
		m.ApplyService(svcs[i], "")
		m.ApplySlice(sls[i], "")
	}
	m.TakeDirty()
	es := sls[777]
	b.ReportAllocs()
	for b.Loop() {
		ready := es.Endpoints[0].Conditions.Ready != nil
		es.Endpoints[0].Conditions.Ready = nil
		if !ready {
			es.Endpoints[0].Conditions.Ready = new(false)
		}
		m.ApplySlice(es, "")
		for _, key := range m.TakeDirty() {
			m.View(key)
		}
	}
}

// A Service with weights and many ports: they are found once for all.
func BenchmarkWeights(b *testing.B) {
	var specs []string
	for i := range 100 {
		specs = append(specs, fmt.Sprintf("10.1.0.%d node=node-%d in=z%d", i, i, i))
	}
	text := "*:997"
	for i := range 60 {
		text = fmt.Sprintf("zone=z%d:%d,", i, 900+i) + text
	}
	m := New(Node{Name: "node-1"})
	s := service(func(s *corev1.Service) {
		s.Annotations = map[string]string{WeightsAnnotation: text}
		s.Spec.Ports = nil
		for i := range 100 {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", i), Port: int32(i + 1)})
		}
	})
	m.ApplyService(s, "")
	slice := endpoints(specs...)
	slice.Ports = nil
	for i := range 100 {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: new(fmt.Sprint("p", i)), Port: new(int32(i + 1))})
	}
	DefaultSlice(slice)
	m.ApplySlice(slice, "")
	key := m.Keys()[0]
	if v, _ := m.View(key); len(v.Endpoints[0][99].ClusterWeights) != 100 {
		b.Fatal("no weights")
	}
	for b.Loop() {
		m.View(key)
	}
}
