package eject

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"kube-ipvs/proxier/model"
)

// crowd returns a world whose Service has so many endpoints, which the node has reached, and of
// which each has so many connections that wait.
func crowd(endpoints, waiting int) *world {
	w := &world{waiting: map[uint32]netip.AddrPort{}}
	accept := func(context.Context, netip.AddrPort) error { return nil }
	w.watch = New(Config{Changed: func(model.Key) {}, Log: slog.New(slog.DiscardHandler), Dial: accept})
	for i := range endpoints {
		w.all = append(w.all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)}), 8080))
	}
	w.render(time.Minute)
	for range endpoints/mostTried + 1 { // each is tried once
		w.period(context.Background())
		w.watch.running.Wait()
	}
	for i, at := range w.all {
		for j := range waiting {
			w.waiting[uint32(waiting*i+j)] = at
		}
	}
	return w
}

// period does what Run does each period.
func (w *world) period(ctx context.Context) {
	_ = w.watch.read(ctx, flows{world: w})
	w.watch.judge(ctx, time.Now())
	w.watch.probeOthers(ctx)
}

// The cost of a reading, without that of conntrack itself, and of a rendering, for a Service
// with so many endpoints of which each has so many connections that wait.
func BenchmarkWatch(b *testing.B) {
	for _, c := range []struct{ endpoints, waiting int }{{10, 3}, {1000, 3}, {10_000, 0}} {
		w := crowd(c.endpoints, c.waiting)
		b.Run(fmt.Sprintf("reading/%d/%d", c.endpoints, c.waiting), func(b *testing.B) {
			for b.Loop() {
				w.period(b.Context())
			}
		})
		b.Run(fmt.Sprintf("rendering/%d", c.endpoints), func(b *testing.B) {
			for b.Loop() {
				w.render(time.Minute)
			}
		})
	}
}

// A period costs what waits for it: ten thousand endpoints cost nothing while their clients are
// answered.
func TestPeriodCostsWhatWaits(t *testing.T) {
	w := crowd(10_000, 0)
	if got := testing.AllocsPerRun(10, func() { w.period(t.Context()) }); got > 20 {
		t.Errorf("%.0f allocations a period", got)
	}
}
