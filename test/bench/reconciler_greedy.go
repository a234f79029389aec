package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/source"
)

// greedyService has 100 ports at 99 external IPs and its ClusterIP: as many
// frontends as a Service may have by default.
func greedyService() source.Event {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "greedy", Name: "all"}}
	s.Spec.ClusterIP = "10.111.255.1"
	for i := range 100 {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprintf("p%d", i), Port: int32(1000 + i)})
	}
	for i := range 99 {
		s.Spec.ExternalIPs = append(s.Spec.ExternalIPs, fmt.Sprintf("192.0.3.%d", i+1))
	}
	model.Default(s)
	return source.Event{Service: s}
}

// greedy measures changes of others, one after another, while a Service of 10,000
// frontends is programmed, and while it is deleted.
func (b *bench) greedy(ctx context.Context, l *loop, s size) error {
	wait := b.figure("change beside a Service of 10,000 frontends", s, "ms")
	version := 10_000
	for range 2 {
		e := greedyService()
		for _, e.Deleted = range []bool{false, true} {
			l.Events([]source.Event{e})
			for left := true; left; version++ {
				began := time.Now()
				l.Events([]source.Event{bareSlice(version%s.services, s.endpoints, version)})
				for seen := false; !seen; {
					r, err := l.next(ctx)
					if err != nil {
						return err
					}
					seen, left = r.Changes.Slices > 0, r.Left > 0
				}
				wait.Samples = append(wait.Samples, ms(time.Since(began)))
			}
		}
	}
	return nil
}
