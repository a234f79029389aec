package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/source"
)

// eventsOf returns Services with a ClusterIP each and their EndpointSlices, as a
// source would deliver them.
func eventsOf(s size) []source.Event {
	var out []source.Event
	for i := range s.services {
		out = append(out, source.Event{Service: bareService(i)}, bareSlice(i, s.endpoints, 0))
	}
	return out
}

func deleted(events []source.Event) []source.Event {
	out := make([]source.Event, len(events))
	for i, e := range events {
		e.Deleted = true
		out[i] = e
	}
	return out
}

func bareService(i int) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("svc-%d", i)}}
	s.Spec.ClusterIP = fmt.Sprintf("10.%d.%d.%d", 96+i>>16, i>>8&255, i&255)
	s.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	model.Default(s)
	return s
}

// bareSlice returns the endpoints of Service i in a version, which differs from the
// one before in one endpoint.
func bareSlice(i, endpoints, version int) source.Event {
	name, port := "", int32(8080)
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("svc-%d-x", i),
		Labels: map[string]string{discoveryv1.LabelServiceName: fmt.Sprintf("svc-%d", i)}}}
	s.AddressType = discoveryv1.AddressTypeIPv4
	s.Ports = []discoveryv1.EndpointPort{{Name: &name, Port: &port}}
	for j := range endpoints {
		address := fmt.Sprintf("10.%d.%d.%d", 128+j, i>>8&255, i&255)
		if j == 0 && version > 0 {
			address = fmt.Sprintf("10.%d.%d.%d", 200+version>>8&15, version&255, i&255)
		}
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
	}
	model.DefaultSlice(s)
	return source.Event{Slice: s}
}
