package desired

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs/proxier/model"
	"kube-ipvs/test/lib/world"
)

// wide applies a Service of many frontends with some endpoints on this node.
func wide(m *model.Model, name string, created, ports, externalIPs, endpoints int) {
	s := newService(name, created, "10.96.0."+name)
	s.Spec.Ports = nil
	es := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}}, AddressType: discoveryv1.AddressTypeIPv4,
	}
	for i := range ports {
		port := fmt.Sprintf("p%d", i)
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: port, Port: int32(1000 + i), Protocol: "TCP"})
		es.Ports = append(es.Ports, discoveryv1.EndpointPort{Name: new(port), Port: new(int32(1000 + i)), Protocol: new(corev1.ProtocolTCP)})
	}
	for i := range externalIPs {
		s.Spec.ExternalIPs = append(s.Spec.ExternalIPs, fmt.Sprintf("192.%d.%d.%d", 168, i>>8, i&255))
	}
	for i := range endpoints {
		es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{Addresses: []string{netip.AddrFrom4([4]byte{10, 244, 0, byte(i)}).String()}, NodeName: new(world.Node)})
	}
	m.ApplyService(s, "")
	m.ApplySlice(es, "")
}

// BenchmarkWide renders Services of many frontends: one alone, and two that both
// ask for all of them.
func BenchmarkWide(b *testing.B) {
	for _, services := range []int{1, 2} {
		for _, externalIPs := range []int{10, 100, 1000} {
			const ports = 100
			b.Run(fmt.Sprintf("%dx%d", services, ports*externalIPs), func(b *testing.B) {
				m := model.New(model.Node{Name: world.Node})
				for i := range services {
					wide(m, fmt.Sprint(i+1), services-i, ports, externalIPs, 10)
				}
				b.ReportAllocs()
				for b.Loop() {
					table := NewTable(config(Image), facts)
					table.Update(m, m.Keys())
				}
			})
		}
	}
}
