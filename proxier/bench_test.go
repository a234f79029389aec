package proxier

import (
	"fmt"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/source"
)

// cluster returns n Services with endpoints each.
func cluster(n, endpoints int) []source.Event {
	var out []source.Event
	for i := range n {
		ip := fmt.Sprintf("10.%d.%d.%d", 96+i>>16, i>>8&255, i&255)
		slice := webSlice(ip, "")
		for j := range endpoints {
			slice.Slice.Endpoints = append(slice.Slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.%d.%d.%d", 128+j, i>>8&255, i&255)}})
		}
		out = append(out, webService(ip), slice)
	}
	return out
}

// BenchmarkColdStart programs everything into an empty fake kernel.
func BenchmarkColdStart(b *testing.B) {
	for _, size := range [][2]int{{10_000, 10}, {50_000, 1}} {
		events := cluster(size[0], size[1])
		b.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p := New(newFake(), testConfig(desired.Direct))
				p.Events(events)
				p.Synced()
				p.round(b.Context())
			}
			b.ReportMetric(float64(size[0])*float64(b.N)/b.Elapsed().Seconds(), "services/s")
		})
	}
}

// BenchmarkRestart starts over a kernel that is as it should be.
func BenchmarkRestart(b *testing.B) {
	events := cluster(10_000, 10)
	k := newFake()
	first := New(k, testConfig(desired.Direct))
	first.Events(events)
	first.Synced()
	first.round(b.Context())
	b.ReportAllocs()
	for b.Loop() {
		p := New(k, testConfig(desired.Direct))
		p.Events(events)
		p.Synced()
		p.round(b.Context())
	}
}

// BenchmarkOneChange moves one endpoint among 10,000 Services.
func BenchmarkOneChange(b *testing.B) {
	k := newFake()
	p := New(k, testConfig(desired.Direct))
	p.Events(cluster(10_000, 10))
	p.Synced()
	p.round(b.Context())
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		p.Events([]source.Event{webSlice("10.96.0.7", fmt.Sprintf("10.244.0.%d", i%200+1))})
		p.round(b.Context())
	}
}
