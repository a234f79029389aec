package cluster

import (
	"fmt"
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/eject"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// BenchmarkWatchedRound is the part of a Cluster in a round with a change of one Service with one
// endpoint of two that rises, where so many other Services have ten watched endpoints each, of
// which one rises.
func BenchmarkWatchedRound(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			log := slog.New(slog.DiscardHandler)
			watch := eject.New(eject.Config{Log: log, Changed: func(model.Key) {}})
			c := New(kernel.NewFake(), log, Config{
				Desired: desired.Config{Mode: desired.Image, Scheduler: "rr", Images: desired.DefaultImages, MasqueradeBit: 14, NodeName: "node"}, Large: 1000, Ejects: watch,
			})
			var board model.Board
			actual := &state.State{}
			round := func(events ...source.Event) {
				c.Take(News{Events: events, Loaded: true, Synced: true})
				if _, err := c.Look(b.Context()); err != nil {
					b.Fatal(err)
				}
				r := &report.Round{}
				for _, part := range c.Render(b.Context(), r, actual) {
					for _, w := range part.Some {
						if w.Present && (w.ID.Kind == state.VirtualServer || w.ID.Kind == state.RealServer) {
							actual.Put(w.ID, w.Spec)
						}
					}
				}
				c.Report(r)
				c.Tell(&board)
				board.Sum()
				watch.Sum()
			}
			for i := range n {
				round(watched(i, 9)...)
				round(watched(i, 10)[1])
			}
			round(watched(n, 1)...)
			if len(c.Reduced()) != n {
				b.Fatalf("%d endpoints rise, of %d", len(c.Reduced()), n)
			}
			i := 0
			for b.Loop() {
				i++
				round(watched(n, 1+i%2)[1])
			}
		})
	}
}

// watched returns a Service with so many endpoints.
func watched(number, endpoints int) []source.Event {
	name := fmt.Sprint("web", number)
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name,
		Annotations: map[string]string{model.EjectAfterAnnotation: "3s", model.SlowStartAnnotation: "1h"}}}
	s.Spec.ClusterIP = fmt.Sprintf("10.96.%d.%d", number/250, number%250)
	s.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	model.Default(s)
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: new(int32(8080))}}}
	for i := range endpoints {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.%d.%d.%d", 100+i, number/250, number%250)}})
	}
	model.DefaultSlice(slice)
	return []source.Event{{Service: s}, {Slice: slice}}
}
