package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// only waits until the endpoints of a Service are those: no other answers.
func only(t *testing.T, s testbed.Service, d *testbed.Daemon, names ...string) {
	t.Helper()
	to := s.ClusterIP()
	await(t, func() error {
		seen := map[string]bool{}
		for range 2 * len(names) { // they take turns
			for _, four := range []bool{true, false} {
				a, err := bed.C1.Ask(t.Context(), "tcp", to.Addr(four), testbed.From{})
				seen[testbed.Outcome(a, err)] = true
			}
		}
		if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, names) {
			return fmt.Errorf("%q answer, want %q", got, names)
		}
		return nil
	})
	settled(t, d)
}

// The controller that makes EndpointSlices of Pods, and kube-ipvs behind it.
func TestEndpointSliceController(t *testing.T) {
	begin(t)
	d := start(t)
	controller, err := control.Controllers(t.Context(), "endpointslice-controller")
	must(t, err)
	t.Cleanup(func() {
		if err := control.Dismiss(controller); err != nil {
			t.Error(err)
		}
	})
	ctx, labels := t.Context(), map[string]string{"app": "web"}
	s := testbed.Service{Name: "web", Number: 1}
	services, _, err := cluster.Objects(s.Manifest())
	must(t, err)
	services[0].Spec.Selector = labels
	for i := range services[0].Spec.Ports {
		services[0].Spec.Ports[i].TargetPort = intstr.FromInt32(testbed.TargetPort)
	}
	must(t, control.ApplyService(ctx, services[0]))
	for _, h := range []*testbed.Host{bed.P1, bed.R1} {
		must(t, control.Pod(ctx, h, labels))
	}
	only(t, s, d, "p1", "r1")
	must(t, control.Pod(ctx, bed.P2, labels))
	only(t, s, d, "p1", "p2", "r1")
	must(t, control.Report(ctx, bed.P1, false))
	only(t, s, d, "p2", "r1")
	must(t, control.Report(ctx, bed.P1, true))
	only(t, s, d, "p1", "p2", "r1")
	remove(t, bed.R1, 0)
	only(t, s, d, "p1", "p2")
	// While kubelet ends the others, P1 first, they are terminating.
	remove(t, bed.P1, 60)
	only(t, s, d, "p2")
	remove(t, bed.P2, 60)
	only(t, s, d, "p1", "p2") // both still serve, and there is no other
	remove(t, bed.P1, 0)
	remove(t, bed.P2, 0)
	reached(t, bed.C1, []testbed.Frontend{s.ClusterIP()}, "refused")
	settled(t, d)
}

// remove deletes a Pod. With a period of grace it stays until kubelet, which is
// not here, says that it has ended.
func remove(t *testing.T, h *testbed.Host, seconds int64) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	must(t, control.Client().CoreV1().Pods(cluster.Namespace).Delete(ctx, h.Name, metav1.DeleteOptions{GracePeriodSeconds: &seconds}))
}

// Two Services want the same external address. The older one gets it; an Event of the
// other one says why it is not served.
func TestClash(t *testing.T) {
	begin(t)
	d := start(t)
	older := testbed.Service{Name: "a-older", Number: 1, External: true}
	apply(t, bed.With(older, testbed.Backends(bed.P1)))
	settled(t, d)
	await(t, func() error { return problems(t.Context(), 0) })
	newer := testbed.Service{Name: "b-newer", Number: 2}
	taken := older.ExternalIP()
	newer.Spec = []string{fmt.Sprintf("externalIPs: [%q, %q]", taken.V4.Addr(), taken.V6.Addr())}
	apply(t, bed.With(newer, testbed.Backends(bed.P2)))
	await(t, func() error { return problems(t.Context(), 1) })
	var event string
	told(t, func() error {
		all, err := control.Client().EventsV1().Events("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, e := range all.Items {
			if e.Regarding.Kind == "Service" && e.Regarding.Name == newer.Name && e.Type == corev1.EventTypeWarning {
				event = fmt.Sprintf("%s %s: %s", e.ReportingController, e.Reason, e.Note)
				return nil
			}
		}
		return fmt.Errorf("there are %d events, and none is a warning about Service %s", len(all.Items), newer.Name)
	})
	t.Log(event)
	reached(t, bed.Ext, older.Outside(), "p1")
	reached(t, bed.C1, newer.Frontends(), "p2")
	must(t, control.Delete(t.Context(), older.Name))
	reached(t, bed.Ext, older.Outside(), "p2")
	await(t, func() error { return problems(t.Context(), 0) })
}

// problems wants the metric to tell that there are some, or none.
func problems(ctx context.Context, least float64) error {
	n, err := metric(ctx, "kube_ipvs_problems")
	if err == nil && (n < least || least == 0 && n != 0) {
		err = fmt.Errorf("kube_ipvs_problems is %g, want %g", n, least)
	}
	return err
}
