package cluster

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// Ages of changes go by the process's own monotonic clock, whatever that of the machine
// says that made them.
func TestTriggersAreMonotonic(t *testing.T) {
	c, s := triggers{began: time.Now().Add(-time.Hour)}, &discoveryv1.EndpointSlice{}
	s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: time.Now().Add(-time.Minute).Format(time.RFC3339Nano)}
	if c.note(s); len(c.at) != 1 || !strings.Contains(c.at[0].String(), " m=") {
		t.Errorf("%v has no monotonic reading", c.at)
	}
}

// Names of Services and slices that have gone are forgotten.
func TestNamesAreForgotten(t *testing.T) {
	c := New(kernel.NewFake(), slog.New(slog.DiscardHandler), Config{
		Desired: desired.Config{Mode: desired.Image, Scheduler: "rr", Images: desired.DefaultImages, MasqueradeBit: 14, NodeName: "node"}, Large: 1000, Names: NewNames(),
	})
	c.Take(News{Loaded: true, Synced: true})
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	service.Spec.ClusterIP = "10.96.0.1"
	service.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	model.Default(service)
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: new(int32(8080))}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.0.1"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "web-0"}}}}
	model.DefaultSlice(slice)
	names := func(deleted bool) int {
		c.Take(News{Events: []source.Event{{Service: service, Deleted: deleted}, {Slice: slice, Deleted: deleted}}})
		if _, err := c.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Render(t.Context(), &report.Round{}, &state.State{})
		n := c.settings.Names
		return len(n.servers) + len(n.of) + len(n.pods) + len(n.slices)
	}
	if n := names(false); n != 4 {
		t.Errorf("%d names, want one of each sort", n)
	}
	if n := names(true); n != 0 {
		t.Errorf("%d names are left", n)
	}
}
