package proxier

import (
	"fmt"
	"runtime"
	"testing"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/source"
)

// troubled returns n Services, each with a fault in the model and one on this node.
func troubled(n int) []source.Event {
	var out []source.Event
	for i := range n {
		s := webService(fmt.Sprintf("10.97.%d.%d", i>>8, i&255))
		s.Service.Annotations = map[string]string{model.SchedulerAnnotation: "No Such"}
		s.Service.Spec.ExternalIPs = []string{"241.0.0.1"} // in an image prefix
		out = append(out, s)
	}
	return out
}

// bytesARound returns how many bytes a change of one Service allocates beside others: in the whole round,
// from the change to its Round, for which the next change waits.
func bytesARound(tb testing.TB, others []source.Event) float64 {
	p := programmed(tb, append(others, webService("10.96.0.7"), webSlice("10.96.0.7", "10.244.0.1")))
	if got := len(p.Last().Problems); got != 2*len(others) {
		tb.Fatalf("%d problems with %d Services", got, len(others))
	}
	const changes = 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range changes {
		p.Events([]source.Event{webSlice("10.96.0.7", fmt.Sprintf("10.244.0.%d", i+2))})
		p.round(tb.Context())
	}
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc-before.TotalAlloc) / changes
}

// programmed returns a Proxier that has programmed all objects.
func programmed(tb testing.TB, events []source.Event) *Proxier {
	p := New(newFake(), testConfig(desired.Image))
	p.Events(events)
	p.Synced()
	p.round(tb.Context())
	for p.Last().Left > 0 {
		p.round(tb.Context())
	}
	return p
}

// Ten thousand Services with problems do not delay the change of another one: it allocates as much as without
// them.
func TestProblemsCostWhatChanges(t *testing.T) {
	alone, among := bytesARound(t, nil), bytesARound(t, troubled(10_000))
	if among > 1.5*alone {
		t.Errorf("a change allocates %.0f bytes among Services with problems, %.0f alone", among, alone)
	}
}

// BenchmarkChangeAmongProblems moves an endpoint of one Service among 10,000 others
// that have problems, or none.
func BenchmarkChangeAmongProblems(b *testing.B) {
	for _, others := range []int{0, 10_000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			p := programmed(b, append(troubled(others), webService("10.96.0.7"), webSlice("10.96.0.7", "10.244.0.1")))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p.Events([]source.Event{webSlice("10.96.0.7", fmt.Sprintf("10.244.0.%d", i%200+2))})
				p.round(b.Context())
			}
		})
	}
}
