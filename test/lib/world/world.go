// Package world draws random clusters for property tests: few names, few
// addresses and few ports, so that Services clash, share and replace each
// other often.
package world

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

// Node is the name of the node under test, and Zone where it stands.
const (
	Node = "n1"
	Zone = "z1"
)

// names of Services; the first comes up before all others.
var names = [][2]string{{"default", "kubernetes"}, {"kube-system", "dns"}, {"default", "web"}, {"default", "api"}, {"shop", "web"}}

// Service draws a Service, valid for an API server.
func Service(t *rapid.T) *corev1.Service {
	i := rapid.IntRange(0, len(names)-1).Draw(t, "service")
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: names[i][0], Name: names[i][1]}}
	s.CreationTimestamp = metav1.NewTime(time.Unix(int64(rapid.IntRange(0, 2).Draw(t, "created"))*3600, 0))
	s.Spec.Type = rapid.SampledFrom([]corev1.ServiceType{"ClusterIP", "NodePort", "LoadBalancer"}).Draw(t, "type")
	families(t, s, i)
	s.Spec.Ports = ports(t, i, s.Spec.Type != "ClusterIP")
	s.Spec.ExternalIPs = pick(t, "external", "192.168.50.200", "192.168.50.201", "fd50::200")
	policies(t, s)
	if s.Spec.Type == "LoadBalancer" {
		for _, ip := range pick(t, "ingress", "192.168.50.200", "192.168.50.202", "fd50::202") {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
		}
		s.Spec.LoadBalancerSourceRanges = pick(t, "ranges", "0.0.0.0/0", "10.0.0.0/8", "fd00::/8")
	}
	if rapid.Bool().Draw(t, "sticky") {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	}
	s.Annotations = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(balance)) {
		if value := rapid.SampledFrom(balance[name]).Draw(t, name); value != "" {
			s.Annotations["kube-ipvs/"+name] = value
		}
	}
	return s
}

// balance has values of annotations, some of them wrong. Weights that rise are not among them:
// they depend on what was there before.
var balance = map[string][]string{
	"scheduler":       {"", "lc", "mh", "mh,fallback", "dh", "nosuch"},
	"weights":         {"", "", "workload=web:10%", "zone=own:3,*:1", "node=n2:0", "slices", "*:0", "zone=z1"},
	"max-connections": {"", "", "5", "none"},
}

func families(t *rapid.T, s *corev1.Service, i int) {
	v4, v6 := fmt.Sprintf("10.96.0.%d", 10+i), fmt.Sprintf("fd96::%d", 10+i)
	s.Spec.ClusterIPs = rapid.SampledFrom([][]string{{v4}, {v6}, {v4, v6}, {v6, v4}}).Draw(t, "families")
	s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	for _, ip := range s.Spec.ClusterIPs {
		family := corev1.IPv4Protocol
		if netip.MustParseAddr(ip).Is6() {
			family = corev1.IPv6Protocol
		}
		s.Spec.IPFamilies = append(s.Spec.IPFamilies, family)
	}
}

func ports(t *rapid.T, i int, nodePorts bool) []corev1.ServicePort {
	all := []corev1.ServicePort{
		{Name: "http", Protocol: "TCP", Port: 80}, {Name: "dns", Protocol: "UDP", Port: 80}, {Name: "tls", Protocol: "TCP", Port: 443},
	}
	all = all[rapid.IntRange(0, 2).Draw(t, "ports"):]
	if nodePorts {
		for j := range all {
			// Two Services may draw the same, as no API server would let them.
			all[j].NodePort = int32(30000 + 10*(i%3) + rapid.IntRange(0, 1).Draw(t, "nodePort"))
			if all[j].Protocol == "UDP" {
				all[j].NodePort += 5
			}
		}
		all = unique(all)
	}
	return all
}

func unique(ports []corev1.ServicePort) []corev1.ServicePort {
	seen := map[string]bool{}
	var out []corev1.ServicePort
	for _, p := range ports {
		key := fmt.Sprint(p.Protocol, p.NodePort)
		if !seen[key] {
			seen[key] = true
			out = append(out, p)
		}
	}
	return out
}

func policies(t *rapid.T, s *corev1.Service) {
	if s.Spec.Type != "ClusterIP" || len(s.Spec.ExternalIPs) > 0 {
		s.Spec.ExternalTrafficPolicy = rapid.SampledFrom([]corev1.ServiceExternalTrafficPolicy{"Cluster", "Local"}).Draw(t, "external policy")
	}
	internal := rapid.SampledFrom([]corev1.ServiceInternalTrafficPolicy{"Cluster", "Local"}).Draw(t, "internal policy")
	s.Spec.InternalTrafficPolicy = &internal
}

// pick draws a part of all.
func pick(t *rapid.T, label string, all ...string) []string {
	var out []string
	for _, s := range all {
		if rapid.Bool().Draw(t, label) {
			out = append(out, s)
		}
	}
	return out
}

// Slice draws an EndpointSlice of one of the Services.
func Slice(t *rapid.T) *discoveryv1.EndpointSlice {
	i := rapid.IntRange(0, len(names)-1).Draw(t, "slice of")
	four := rapid.Bool().Draw(t, "IPv4")
	n := rapid.IntRange(0, 1).Draw(t, "slice")
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: names[i][0], Name: fmt.Sprintf("%s-%v-%d", names[i][1], four, n),
			Labels: map[string]string{discoveryv1.LabelServiceName: names[i][1]},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	format := "10.244.0.%d"
	if !four {
		s.AddressType, format = discoveryv1.AddressTypeIPv6, "fd44::%d"
	}
	for _, p := range []struct {
		name  string
		proto corev1.Protocol
		port  int32
	}{{"http", "TCP", 8080}, {"dns", "UDP", 53}, {"tls", "TCP", 8443}} {
		if rapid.IntRange(0, 3).Draw(t, "has port") > 0 {
			s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &p.name, Protocol: &p.proto, Port: &p.port})
		}
	}
	if weight := rapid.SampledFrom([]string{"", "", "4"}).Draw(t, "weight"); weight != "" {
		s.Annotations = map[string]string{"kube-ipvs/weight": weight}
	}
	hinted := rapid.IntRange(0, 2).Draw(t, "hinted") == 2
	for _, at := range rapid.SliceOfNDistinct(rapid.IntRange(1, 6), 0, 4, rapid.ID).Draw(t, "endpoints") {
		e := endpoint(t, fmt.Sprintf(format, at), at)
		if hinted {
			e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: rapid.SampledFrom([]string{Zone, "z2"}).Draw(t, "zone")}}}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

func endpoint(t *rapid.T, addr string, at int) discoveryv1.Endpoint {
	node := Node
	if at%2 == 0 {
		node = "n2"
	}
	ready := rapid.IntRange(0, 4).Draw(t, "ready") > 0
	terminating := !ready && rapid.Bool().Draw(t, "terminating")
	serving := ready || rapid.Bool().Draw(t, "serving")
	zone, pod := Zone, fmt.Sprintf("web-%d", at)
	if at > 2 {
		zone, pod = "z2", fmt.Sprintf("canary-%d", at)
	}
	return discoveryv1.Endpoint{Addresses: []string{addr}, NodeName: &node, Zone: &zone, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}}
}
