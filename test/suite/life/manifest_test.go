package life

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// spec is a Service and its endpoints.
type spec struct {
	name         string
	kind         corev1.ServiceType
	ips          []string // ClusterIPs
	ports        []corev1.ServicePort
	lb, external []string
	ranges       []string
	localOut     bool // externalTrafficPolicy Local
	localIn      bool // internalTrafficPolicy Local
	affinity     int32
	scheduler    string
	endpoints    []endpoint
}

// endpoint is the pod number id, on this node or another.
type endpoint struct {
	id    int
	here  bool
	state string // as testbed.Backend has it
}

// here and there make ready endpoints.
func here(ids ...int) []endpoint  { return pods(true, ids) }
func there(ids ...int) []endpoint { return pods(false, ids) }

func pods(here bool, ids []int) []endpoint {
	var out []endpoint
	for _, id := range ids {
		out = append(out, endpoint{id: id, here: here})
	}
	return out
}

func tcp(name string, port, nodePort int32) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Protocol: corev1.ProtocolTCP, Port: port, NodePort: nodePort}
}

func udp(name string, port, nodePort int32) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Protocol: corev1.ProtocolUDP, Port: port, NodePort: nodePort}
}

func (s spec) service() *corev1.Service {
	out := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: s.name, Namespace: "default"},
		Spec: corev1.ServiceSpec{
			Type: s.kind, ClusterIPs: s.ips, Ports: s.ports, ExternalIPs: s.external, LoadBalancerSourceRanges: s.ranges,
		},
	}
	if len(s.ips) > 0 {
		out.Spec.ClusterIP = s.ips[0]
	}
	for _, ip := range s.lb {
		out.Status.LoadBalancer.Ingress = append(out.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
	}
	if s.localOut {
		out.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	if s.localIn {
		p := corev1.ServiceInternalTrafficPolicyLocal
		out.Spec.InternalTrafficPolicy = &p
	}
	if s.affinity > 0 {
		out.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		out.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &s.affinity}}
	}
	if s.scheduler != "" {
		out.Annotations = map[string]string{"kube-ipvs/scheduler": s.scheduler}
	}
	return out
}

// slice returns the EndpointSlice of a family. Pods listen 8000 above the
// Service's port.
func (s spec) slice(family discoveryv1.AddressType) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{Name: s.name + "-" + strings.ToLower(string(family)), Namespace: "default",
			Labels: map[string]string{discoveryv1.LabelServiceName: s.name}},
		AddressType: family,
	}
	for _, p := range s.ports {
		target := p.Port + 8000
		out.Ports = append(out.Ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: &target})
	}
	for _, e := range s.endpoints {
		address := fmt.Sprintf("10.244.%d.%d", e.id/250, e.id%250+1)
		if family == discoveryv1.AddressTypeIPv6 {
			address = fmt.Sprintf("fd44::%x", e.id+1)
		}
		on := "node2"
		if e.here {
			on = "node"
		}
		ready, serving, terminating := e.state == "", e.state == "" || e.state == "terminating", e.state == "terminating"
		out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}, NodeName: &on,
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}})
	}
	return out
}

// objects returns the Service and a slice for each of its families.
func (s spec) objects() []any {
	out := []any{s.service()}
	for _, ip := range s.ips {
		family := discoveryv1.AddressTypeIPv4
		if strings.Contains(ip, ":") {
			family = discoveryv1.AddressTypeIPv6
		}
		out = append(out, s.slice(family))
	}
	return out
}

// manifest spells the objects of all specs.
func manifest(specs ...spec) string {
	var objects []any
	for _, s := range specs {
		objects = append(objects, s.objects()...)
	}
	return documents(objects...)
}

func documents(objects ...any) string {
	var out strings.Builder
	for _, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			panic(err) // they are plain data
		}
		out.WriteString("---\n")
		out.Write(text)
	}
	return out.String()
}

// both returns the ClusterIPs number i, one a family.
func both(i int) []string { return []string{fmt.Sprintf("10.96.0.%d", i), fmt.Sprintf("fd96::%x", i)} }

// rich is at least one Service of every kind that needs something of its own
// in the kernel, and some that need nothing.
func rich() map[string]string {
	return map[string]string{
		"plain.yaml": manifest(
			spec{name: "web", ips: both(10), ports: []corev1.ServicePort{tcp("http", 80, 0), udp("dns", 53, 0)}, endpoints: append(here(1, 2), there(3)...)},
			spec{name: "sticky", ips: both(11), ports: []corev1.ServicePort{tcp("", 80, 0)}, affinity: 600, endpoints: there(4, 5)},
			spec{name: "hash", ips: both(12), ports: []corev1.ServicePort{tcp("", 80, 0)}, scheduler: "mh", endpoints: there(4, 5)},
			spec{name: "least", ips: both(13)[:1], ports: []corev1.ServicePort{tcp("", 80, 0)}, scheduler: "wlc", endpoints: here(6)},
			spec{name: "six", ips: both(14)[1:], ports: []corev1.ServicePort{udp("", 80, 0)}, endpoints: there(7)},
			spec{name: "signals", ips: both(15), ports: []corev1.ServicePort{{Protocol: corev1.ProtocolSCTP, Port: 3868}}, endpoints: there(8, 9)},
		),
		"outside.yaml": manifest(
			spec{name: "node-port", kind: corev1.ServiceTypeNodePort, ips: both(20), ports: []corev1.ServicePort{tcp("a", 80, 30080), udp("b", 80, 30080)}, endpoints: append(here(1), there(3)...)},
			spec{name: "balanced", kind: corev1.ServiceTypeLoadBalancer, ips: both(21), lb: []string{"192.168.50.200", "fd50::200"}, external: []string{"192.168.50.201"},
				ports: []corev1.ServicePort{tcp("", 443, 30443)}, ranges: []string{"192.168.50.0/24", "0.0.0.0/0", "fd50::/64"}, endpoints: there(3, 4)},
			spec{name: "local", kind: corev1.ServiceTypeLoadBalancer, ips: both(22), lb: []string{"192.168.50.202", "fd50::202"}, localOut: true,
				ports: []corev1.ServicePort{tcp("x", 80, 31080), udp("y", 53, 31053)}, endpoints: append(here(1, 2), there(3)...)},
		),
		"refused.yaml": manifest(
			spec{name: "empty", kind: corev1.ServiceTypeLoadBalancer, ips: both(30), lb: []string{"192.168.50.203"}, ports: []corev1.ServicePort{tcp("", 80, 32080)}},
			spec{name: "elsewhere", kind: corev1.ServiceTypeLoadBalancer, ips: both(31), lb: []string{"192.168.50.204"}, localOut: true, localIn: true,
				ports: []corev1.ServicePort{tcp("", 80, 32081)}, endpoints: there(3)},
			spec{name: "going", ips: both(32), ports: []corev1.ServicePort{tcp("", 80, 0)}, endpoints: []endpoint{{id: 1, here: true, state: "terminating"}}},
			spec{name: "headless", ips: []string{"None"}, ports: []corev1.ServicePort{tcp("", 80, 0)}},
		),
	}
}

// enrich puts the rich manifests into the node's folder.
func (n *node) enrich() {
	n.t.Helper()
	for name, text := range rich() {
		n.put(name, text)
	}
}
