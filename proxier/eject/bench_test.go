package eject

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"kube-ipvs/proxier/model"
)

// The cost of a reading, without that of conntrack itself, and of a rendering, for a Service
// with so many endpoints of which each has 3 connections that wait.
func BenchmarkWatch(b *testing.B) {
	for _, n := range []int{10, 1000} {
		w := &world{waiting: map[uint32]netip.AddrPort{}}
		w.watch = New(Config{Changed: func(model.Key) {}, Log: slog.New(slog.DiscardHandler)})
		for i := range n {
			w.all = append(w.all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)}), 8080))
			for j := range 3 {
				w.waiting[uint32(3*i+j)] = w.all[i]
			}
		}
		w.render(time.Minute)
		b.Run(fmt.Sprintf("reading/%d", n), func(b *testing.B) {
			for b.Loop() {
				watched := w.watch.watched()
				if err := read(b.Context(), flows{world: w}, watched); err != nil {
					b.Fatal(err)
				}
				w.watch.judge(b.Context(), time.Now(), watched)
			}
		})
		b.Run(fmt.Sprintf("rendering/%d", n), func(b *testing.B) {
			for b.Loop() {
				w.render(time.Minute)
			}
		})
	}
}
