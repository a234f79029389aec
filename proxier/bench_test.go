package proxier

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	discoveryv1 "k8s.io/api/discovery/v1"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// clusterOf returns n Services with endpoints each.
func clusterOf(n, endpoints int) []source.Event {
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

// BenchmarkColdStart programs everything into an empty fake kernel. The memory of a Service is without
// the part of the fake kernel, and without the events.
func BenchmarkColdStart(b *testing.B) {
	for _, size := range [][2]int{{10_000, 10}, {50_000, 1}} {
		b.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(b *testing.B) {
			services := float64(size[0])
			kept := live(b, size[0], size[1])
			events := clusterOf(size[0], size[1])
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := cpu(b)
			for b.Loop() {
				started(b, newFake(), events)
			}
			n := services * float64(b.N)
			b.ReportMetric(n/(cpu(b)-began).Seconds(), "services/s-of-CPU")
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/n, "allocs/service")
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/n, "B/service")
			b.ReportMetric(kept/services, "live-B/service")
		})
	}
}

// cpu returns the CPU time of all threads of the process: the elapsed time would depend on the number of
// CPUs and on other processes.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// started returns a Proxier that has programmed all objects.
func started(b *testing.B, k *kernel.Fake, events []source.Event) *Proxier {
	p := New(k, testConfig(desired.Direct))
	p.Events(events)
	p.Synced()
	p.round(b.Context())
	return p
}

// live returns how many bytes a Proxier keeps of a cluster.
func live(b *testing.B, services, endpoints int) float64 {
	heap := func() float64 {
		var m runtime.MemStats
		for range 3 { // interned values go in the collection after that of their users
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	before := heap()
	k := newFake()
	p := started(b, k, clusterOf(services, endpoints))
	k.State = nil
	after := heap()
	runtime.KeepAlive(p)
	return after - before
}

// sink is a kernel that accepts all writes and keeps no object.
type sink struct{ *kernel.Fake }

func (sink) Read(context.Context) (*state.State, error) { return &state.State{}, nil }

func (sink) Apply(context.Context, state.Plan) []error { return nil }

// BenchmarkUserspace is a cold start without a kernel, of Services with the defaults of the daemon. Run it
// with -cpu 1, so that one CPU makes and collects the garbage.
func BenchmarkUserspace(b *testing.B) {
	const services = 50_000
	events := clusterOf(services, 1)
	var before, after, rest runtime.MemStats
	var kept uint64
	var took time.Duration
	for b.Loop() {
		b.StopTimer()
		for range 3 { // interned values go in the collection after that of their users
			runtime.GC()
		}
		runtime.ReadMemStats(&before)
		began := cpu(b)
		b.StartTimer()
		p := New(sink{newFake()}, testConfig(desired.Image))
		p.Events(events)
		p.Synced()
		p.round(b.Context())
		b.StopTimer()
		took += cpu(b) - began
		runtime.ReadMemStats(&after)
		runtime.GC()
		runtime.ReadMemStats(&rest)
		kept = rest.HeapAlloc - before.HeapAlloc
		runtime.KeepAlive(p)
		b.StartTimer()
	}
	b.ReportMetric(services*float64(b.N)/took.Seconds(), "services/s-of-CPU")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/services, "allocs/service")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/services, "B/service")
	b.ReportMetric(float64(kept)/services, "live-B/service")
}

// BenchmarkRestart starts over a kernel that has all desired objects.
func BenchmarkRestart(b *testing.B) {
	events := clusterOf(10_000, 10)
	k := newFake()
	started(b, k, events)
	b.ReportAllocs()
	for b.Loop() {
		started(b, k, events)
	}
}

// BenchmarkOneChange moves one endpoint among 10,000 Services.
func BenchmarkOneChange(b *testing.B) {
	p := started(b, newFake(), clusterOf(10_000, 10))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		p.Events([]source.Event{webSlice("10.96.0.7", fmt.Sprintf("10.244.0.%d", i%200+1))})
		p.round(b.Context())
	}
}
