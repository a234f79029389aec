package model

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"kube-ipvs/netutil/ipfamily"
)

func TestSliceFaults(t *testing.T) {
	type slice = discoveryv1.EndpointSlice
	port := func(edit func(*discoveryv1.EndpointPort)) func(*slice) {
		return func(es *slice) {
			es.Ports = append(es.Ports, discoveryv1.EndpointPort{Name: new("b"), Port: new(int32(9090))})
			edit(&es.Ports[1])
		}
	}
	address := func(a string) func(*slice) {
		return func(es *slice) { es.Endpoints[1].Addresses = []string{a} }
	}
	const both, first = "10.0.0.1:8080 10.0.0.2:8080", "10.0.0.1:8080"
	tests := []struct {
		name  string
		edit  func(*slice)
		want  string // cluster endpoints of the unnamed port
		field string // empty: no problem
		about string
	}{
		{"good", func(*slice) {}, both, "", ""},
		{"no endpoints", func(es *slice) { es.Endpoints = nil }, "", "", ""},
		{"no label", func(es *slice) { es.Labels = nil }, "", "", ""},
		{"other service", func(es *slice) { es.Labels[discoveryv1.LabelServiceName] = "db" }, "", "", ""},
		{"headless label", func(es *slice) { es.Labels[corev1.IsHeadlessService] = "" }, "", "", ""},
		{"another proxy's label", func(es *slice) { es.Labels[labelProxyName] = "kpng" }, both, "", ""},
		{"FQDN", func(es *slice) { es.AddressType = discoveryv1.AddressTypeFQDN }, "", "", ""},
		{"other addresses are not looked at", func(es *slice) { es.Endpoints[0].Addresses = []string{"10.0.0.1", "nonsense"} }, both, "", ""},
		{"address type", func(es *slice) { es.AddressType = "ipv4" }, "", "addressType", "ipv4"},
		{"name", func(es *slice) { es.Name = "Web_1" }, "", "metadata.name", "DNS name"},
		{"namespace", func(es *slice) { es.Namespace = "a.b" }, "", "metadata.namespace", "DNS label"},
		{"nil port name", func(es *slice) { es.Ports[0].Name = nil }, "", "ports[0].name", "this port is left out"},
		{"nil port", func(es *slice) { es.Ports[0].Port = nil }, "", "ports[0].port", "no port number"},
		{"nil protocol is TCP", func(es *slice) { es.Ports[0].Protocol = nil }, both, "", ""},
		{"other protocol", func(es *slice) { es.Ports[0].Protocol = new(corev1.ProtocolUDP) }, "", "", ""},
		{"other port name", func(es *slice) { es.Ports[0].Name = new("b") }, "", "", ""},
		{"port 0", port(func(p *discoveryv1.EndpointPort) { p.Port = new(int32(0)) }), both, "ports[1].port", "0 is not in 1..65535"},
		{"port 65536", port(func(p *discoveryv1.EndpointPort) { p.Port = new(int32(65536)) }), both, "ports[1].port", "65536"},
		{"protocol", port(func(p *discoveryv1.EndpointPort) { p.Protocol = new(corev1.Protocol("udp")) }), both, "ports[1].protocol", "udp"},
		{"port name", port(func(p *discoveryv1.EndpointPort) { p.Name = new("B") }), both, "ports[1].name", "DNS label"},
		{"duplicate port name", port(func(p *discoveryv1.EndpointPort) { p.Name = new("") }), both, "ports[1].name", "twice"},
		{"no address", func(es *slice) { es.Endpoints[1].Addresses = nil }, first, "endpoints[1].addresses", "there is no address"},
		{"text address", address("web-0"), first, "endpoints[1].addresses[0]", "not an IP address"},
		{"wrong family", address("fd00::1"), first, "endpoints[1].addresses[0]", "addressType is not"},
		{"loopback", address("127.0.0.1"), first, "endpoints[1].addresses[0]", "loopback"},
		{"link-local", address("169.254.169.254"), first, "endpoints[1].addresses[0]", "link-local"},
		{"unspecified", address("0.0.0.0"), first, "endpoints[1].addresses[0]", "unspecified"},
		{"multicast", address("224.0.0.5"), first, "endpoints[1].addresses[0]", "multicast"},
		{"multicast of an organisation", address("239.1.2.3"), first, "endpoints[1].addresses[0]", "multicast"},
		{"mapped", address("::ffff:10.0.0.2"), both, "", ""},
		{"zeros in front", address("010.000.0.02"), both, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			es := endpoints("10.0.0.1", "10.0.0.2")
			tt.edit(es)
			m := modelOf(t, service(), es)
			if got := texts(mustView(t, m, web).Endpoints[ipfamily.IPv4][0].Cluster); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			problems := m.Board().List()
			if tt.field == "" {
				if len(problems) != 0 {
					t.Errorf("unexpected problems %v", problems)
				}
				return
			}
			if len(problems) != 1 || problems[0].Field != tt.field || !strings.Contains(problems[0].Message, tt.about) {
				t.Errorf("problems %v, want one with %s about %q", problems, tt.field, tt.about)
			}
		})
	}
}

func TestSliceIsNotChanged(t *testing.T) {
	es := endpoints("10.0.0.1")
	es.Ports[0].Protocol = new(corev1.Protocol(""))
	modelOf(t, es)
	if *es.Ports[0].Protocol != "" {
		t.Error("ApplySlice changed its argument")
	}
}

func TestSliceTooLarge(t *testing.T) {
	var specs []string
	for i := range maxEndpoints + 1 {
		specs = append(specs, fmt.Sprintf("10.1.%d.%d", i/250, 1+i%250))
	}
	m := modelOf(t, service(), endpoints(specs...))
	if n := len(mustView(t, m, web).Endpoints[ipfamily.IPv4][0].Cluster); n != maxEndpoints {
		t.Errorf("%d endpoints are used", n)
	}
	if p := m.Board().List(); len(p) != 1 || p[0].Field != "endpoints" {
		t.Errorf("problems %v", p)
	}
}

func TestRemarksAreBounded(t *testing.T) {
	var specs []string
	for range maxEndpoints {
		specs = append(specs, "127.0.0.1")
	}
	p := modelOf(t, endpoints(specs...)).Board().List()
	if len(p) != maxRemarks+1 || !strings.Contains(p[0].Message, "980 more") {
		t.Errorf("%d problems, the first is %v", len(p), p[0])
	}
}

func TestEndpointSize(t *testing.T) {
	if size := unsafe.Sizeof(endpoint{}); size > 56 {
		t.Errorf("an endpoint takes %d bytes", size)
	}
}

// Names are judged as API servers do.
func TestGoodNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.StringMatching(`[a-z0-9.-]{0,5}`), rapid.StringMatching(`[-a-zA-Z0-9_.]{0,3}`), rapid.StringMatching(`[a-z]{60,66}`), rapid.String()).Draw(t, "name")
		if got, want := goodLabel(s), len(validation.IsDNS1123Label(s)) == 0; got != want {
			t.Errorf("label %q is good: %t, want %t", s, got, want)
		}
		if got, want := goodName(s), len(validation.IsDNS1123Subdomain(s)) == 0; got != want {
			t.Errorf("name %q is good: %t, want %t", s, got, want)
		}
	})
}
