package model

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var web = Key{"default", "web"}

// service returns a good ClusterIP service default/web, changed by edits.
func service(edits ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	svc.Spec.ClusterIP = "10.96.0.10"
	svc.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	for _, edit := range edits {
		edit(svc)
	}
	Default(svc)
	return svc
}

func dual(svc *corev1.Service) {
	svc.Spec.ClusterIPs = []string{"10.96.0.10", "fd00::10"}
}

func loadBalancer(svc *corev1.Service) {
	svc.Spec.Type = corev1.ServiceTypeLoadBalancer
	svc.Spec.Ports[0].NodePort = 30080
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
}

// endpoints returns a good slice default/web-1 of default/web with port 8080.
// Each endpoint is an address followed by words: node=, zone= and fornode=
// (comma-separated), notready, notserving, terminating.
func endpoints(specs ...string) *discoveryv1.EndpointSlice {
	es := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: "web-1",
		Labels: map[string]string{discoveryv1.LabelServiceName: "web"},
	}}
	es.AddressType = discoveryv1.AddressTypeIPv4
	es.Ports = []discoveryv1.EndpointPort{{Port: new(int32(8080))}}
	for _, spec := range specs {
		es.Endpoints = append(es.Endpoints, endpointOf(spec))
	}
	if len(specs) > 0 && strings.Contains(strings.Fields(specs[0])[0], ":") {
		es.AddressType = discoveryv1.AddressTypeIPv6
	}
	DefaultSlice(es)
	return es
}

func endpointOf(spec string) (e discoveryv1.Endpoint) {
	words := strings.Fields(spec)
	e.Addresses = words[:1]
	e.Hints = &discoveryv1.EndpointHints{}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "node":
			e.NodeName = &value
		case "zone":
			for z := range strings.SplitSeq(value, ",") {
				e.Hints.ForZones = append(e.Hints.ForZones, discoveryv1.ForZone{Name: z})
			}
		case "fornode":
			for n := range strings.SplitSeq(value, ",") {
				e.Hints.ForNodes = append(e.Hints.ForNodes, discoveryv1.ForNode{Name: n})
			}
		case "in": // the endpoint's own zone
			e.Zone = &value
		case "pod":
			e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: value}
		case "notready":
			e.Conditions.Ready = new(false)
		case "notserving":
			e.Conditions.Serving = new(false)
		case "terminating":
			e.Conditions.Terminating = new(true)
		default:
			panic("unknown word " + word)
		}
	}
	return e
}

// named gives a slice another name, so that a service can have several.
func named(name string, es *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	es.Name = name
	return es
}

// modelOf returns a model of node n1 in zone za that holds the objects.
func modelOf(t testing.TB, objects ...any) *Model {
	t.Helper()
	m := New(Node{Name: "n1", Zone: "za"})
	apply(t, m, objects...)
	return m
}

func apply(t testing.TB, m *Model, objects ...any) {
	t.Helper()
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Service:
			m.ApplyService(o, "test")
		case *discoveryv1.EndpointSlice:
			m.ApplySlice(o, "test")
		default:
			t.Fatalf("unexpected %T", o)
		}
	}
}

func mustView(t testing.TB, m *Model, key Key) View {
	t.Helper()
	v, ok := m.View(key)
	if !ok {
		t.Fatalf("no view of %s", key)
	}
	return v
}

// texts joins values as they print.
func texts[T interface{ String() string }](in []T) string {
	var out []string
	for _, v := range in {
		out = append(out, v.String())
	}
	return strings.Join(out, " ")
}

// short prints addresses of 10.0.0.0/24 by their last byte and drops port 8080.
func short(in []netip.AddrPort) string {
	return strings.NewReplacer("10.0.0.", "", ":8080", "").Replace(texts(in))
}
