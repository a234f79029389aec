package model

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestDefault(t *testing.T) {
	type spec = corev1.ServiceSpec
	single, require := corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyRequireDualStack
	cluster := corev1.ServiceInternalTrafficPolicyCluster
	v4, v6 := corev1.IPv4Protocol, corev1.IPv6Protocol
	base := spec{Type: "ClusterIP", SessionAffinity: "None", IPFamilyPolicy: &single, InternalTrafficPolicy: &cluster}
	with := func(edit func(*spec)) spec {
		s := base
		edit(&s)
		return s
	}
	tests := []struct {
		name     string
		in, want spec
	}{
		{"empty", spec{}, base},
		{"protocol and target port", spec{Ports: []corev1.ServicePort{{Port: 80}}}, with(func(s *spec) {
			s.Ports = []corev1.ServicePort{{Port: 80, Protocol: "TCP", TargetPort: intstr.FromInt32(80)}}
		})},
		{"named target port stays", spec{Ports: []corev1.ServicePort{{Port: 80, Protocol: "UDP", TargetPort: intstr.FromString("dns")}}}, with(func(s *spec) {
			s.Ports = []corev1.ServicePort{{Port: 80, Protocol: "UDP", TargetPort: intstr.FromString("dns")}}
		})},
		{"clusterIP to clusterIPs", spec{ClusterIP: "10.96.0.1"}, with(func(s *spec) {
			s.ClusterIP, s.ClusterIPs, s.IPFamilies = "10.96.0.1", []string{"10.96.0.1"}, []corev1.IPFamily{v4}
		})},
		{"clusterIPs to clusterIP", spec{ClusterIPs: []string{"fd00::1", "10.96.0.1"}}, with(func(s *spec) {
			s.ClusterIP, s.ClusterIPs = "fd00::1", []string{"fd00::1", "10.96.0.1"}
			s.IPFamilies, s.IPFamilyPolicy = []corev1.IPFamily{v6, v4}, &require
		})},
		{"headless", spec{ClusterIP: "None"}, with(func(s *spec) { s.ClusterIP, s.ClusterIPs = "None", []string{"None"} })},
		{"affinity timeout", spec{SessionAffinity: "ClientIP"}, with(func(s *spec) {
			s.SessionAffinity = "ClientIP"
			s.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(10800))}}
		})},
		{"node port", spec{Type: "NodePort"}, with(func(s *spec) { s.Type, s.ExternalTrafficPolicy = "NodePort", "Cluster" })},
		{"external IPs", spec{ExternalIPs: []string{"192.0.2.1"}}, with(func(s *spec) {
			s.ExternalIPs, s.ExternalTrafficPolicy = []string{"192.0.2.1"}, "Cluster"
		})},
		{"external name", spec{Type: "ExternalName"}, spec{Type: "ExternalName", SessionAffinity: "None"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			svc := &corev1.Service{Spec: tt.in}
			for range 2 { // the second time must change nothing
				Default(svc)
				if d := cmp.Diff(tt.want, svc.Spec); d != "" {
					t.Fatalf("-want +got:\n%s", d)
				}
			}
		})
	}
}

func TestDefaultIngressMode(t *testing.T) {
	svc := service(loadBalancer, func(svc *corev1.Service) {
		svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{Hostname: "lb.example"})
	})
	in := svc.Status.LoadBalancer.Ingress
	if in[0].IPMode == nil || *in[0].IPMode != corev1.LoadBalancerIPModeVIP || in[1].IPMode != nil {
		t.Errorf("ipMode: %v, %v", in[0].IPMode, in[1].IPMode)
	}
}

func TestDefaultSlice(t *testing.T) {
	es := &discoveryv1.EndpointSlice{Ports: []discoveryv1.EndpointPort{{}, {Name: new("dns"), Protocol: new(corev1.ProtocolUDP)}}}
	DefaultSlice(es)
	want := []discoveryv1.EndpointPort{{Name: new(""), Protocol: new(corev1.ProtocolTCP)}, {Name: new("dns"), Protocol: new(corev1.ProtocolUDP)}}
	if d := cmp.Diff(want, es.Ports); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
