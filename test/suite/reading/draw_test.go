package reading

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"
)

var (
	four = []string{"10.96.0.10", "10.96.0.11", "10.96.011.012", "010.0.0.7", "::ffff:10.96.0.10", "::FFFF:010.0.0.9", "239.1.2.3", "240.0.0.1", "0.1.2.3",
		"127.0.0.1", "169.254.1.1", "224.0.0.5", "0.0.0.0", "255.255.255.255"}
	six = []string{"fd96::10", "FD96:0::0011", "fd96::10.0.0.34", "fd96::010.0.0.35", "::10.96.0.10", "2001:db8::1",
		"::1", "::", "fe80::1", "ff02::1", "ff0e::1"}
	nonsense = []string{"", "10.96.0", "10.96.0.256", "web", "fd96::1%eth0", " 10.96.0.10", "10.96.0.10/32", "None"}
	names    = []string{"a", "b", "http", "", "0", "A", "a.b", "-a", strings.Repeat("n", 63), strings.Repeat("n", 64)}
	cidrs    = []string{"10.0.0.0/8", " 10.0.0.0/8 ", "010.001.0.0/016", "10.1.2.3/8", "::ffff:10.0.0.0/104", "0.0.0.0/0", "fd00::/8", "fd00::1/8", "::/0",
		"10.0.0.1", "10.0.0.0/33", ""}
)

// odds draws one of a list, mostly from its beginning: an object in which all is odd
// is refused for the first thing, and tells nothing of the others.
func odds[T any](t *rapid.T, label string, all []T) T {
	n := len(all)
	if rapid.IntRange(0, 3).Draw(t, label+" plain") > 0 {
		n = (n + 1) / 2
	}
	return all[rapid.IntRange(0, n-1).Draw(t, label)]
}

// some draws a few of a list.
func some(t *rapid.T, label string, all []string) (out []string) {
	for range rapid.IntRange(0, 3).Draw(t, label+" count") {
		out = append(out, odds(t, label, all))
	}
	return out
}

func addresses(t *rapid.T, label string) []string {
	all := [][]string{four, six, nonsense}
	if rapid.IntRange(0, 7).Draw(t, label+" sense") > 0 {
		all = all[:2]
	}
	return some(t, label, all[rapid.IntRange(0, len(all)-1).Draw(t, label+" kind")])
}

// drawService draws a Service as it may be put to an API server, with addresses and
// node ports as its allocators could have given them.
func drawService(t *rapid.T) *corev1.Service {
	s := &corev1.Service{}
	s.Namespace, s.Name = odds(t, "namespace", names[:7]), odds(t, "name", names)
	s.Spec.Type = odds(t, "type", []corev1.ServiceType{"", "NodePort", "LoadBalancer", "LoadBalancer", "ClusterIP", "ExternalName", "Headless"})
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		s.Spec.ExternalName = "x.example"
	} else {
		drawClusterIPs(t, &s.Spec)
	}
	for range odds(t, "ports", []int{1, 2, 1, 3, 0}) {
		s.Spec.Ports = append(s.Spec.Ports, drawPort(t, s.Spec.Type))
	}
	if rapid.Bool().Draw(t, "external") {
		s.Spec.ExternalIPs = addresses(t, "external IP")
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, ip := range addresses(t, "ingress") {
			mode := odds(t, "mode", []corev1.LoadBalancerIPMode{"", "VIP", "Proxy", "Vip"})
			in := corev1.LoadBalancerIngress{IP: ip}
			if mode != "" {
				in.IPMode = &mode
			}
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, in)
		}
		s.Spec.LoadBalancerSourceRanges = some(t, "range", cidrs)
	}
	s.Spec.SessionAffinity = odds(t, "affinity", []corev1.ServiceAffinity{"", "ClientIP", "None", "Cookie"})
	if s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP && rapid.Bool().Draw(t, "config") {
		seconds := odds(t, "seconds", []int32{1, 10800, 86400, 0, 86401})
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	}
	drawPolicies(t, &s.Spec)
	return s
}

func drawClusterIPs(t *rapid.T, spec *corev1.ServiceSpec) {
	v4, v6 := odds(t, "IPv4", four), odds(t, "IPv6", six)
	families := []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	switch rapid.IntRange(0, 5).Draw(t, "families") {
	case 0:
		spec.ClusterIPs = []string{"None"}
	case 1:
		spec.ClusterIPs, families = []string{v4}, families[:1]
	case 2:
		spec.ClusterIPs, families = []string{v6}, families[1:]
	case 3:
		spec.ClusterIPs, families = []string{v6, v4}, []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
	default:
		spec.ClusterIPs = []string{v4, v6}
	}
	spec.ClusterIP = spec.ClusterIPs[0]
	if rapid.Bool().Draw(t, "with families") {
		spec.IPFamilies = families
	}
	if policy := odds(t, "family policy", []corev1.IPFamilyPolicy{"", "PreferDualStack", "SingleStack", "Any"}); policy != "" {
		spec.IPFamilyPolicy = &policy
	}
}

func drawPort(t *rapid.T, kind corev1.ServiceType) corev1.ServicePort {
	p := corev1.ServicePort{
		Name: odds(t, "port name", names), Protocol: odds(t, "protocol", []corev1.Protocol{"", "UDP", "SCTP", "TCP", "tcp"}),
		Port:       odds(t, "port", []int32{80, 81, 1, 65535, 0, -1, 65536}),
		TargetPort: odds(t, "target", []intstr.IntOrString{intstr.FromInt32(0), intstr.FromString("http"), intstr.FromString(""), intstr.FromInt32(70000)}),
	}
	if kind == corev1.ServiceTypeNodePort || kind == corev1.ServiceTypeLoadBalancer {
		p.NodePort = rapid.SampledFrom([]int32{30000, 30001, 1, 65535}).Draw(t, "node port")
	}
	return p
}

func drawPolicies(t *rapid.T, spec *corev1.ServiceSpec) {
	spec.ExternalTrafficPolicy = odds(t, "external policy", []corev1.ServiceExternalTrafficPolicy{"", "", "Local", "Cluster", "local"})
	if policy := odds(t, "internal policy", []corev1.ServiceInternalTrafficPolicy{"", "Local", "Cluster", "local"}); policy != "" {
		spec.InternalTrafficPolicy = &policy
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer && spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		spec.HealthCheckNodePort = odds(t, "health port", []int32{32000, 1, 0, 70000})
	}
}

func drawSlice(t *rapid.T) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: odds(t, "name", names)}}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: "web"}
	s.AddressType = odds(t, "type", []discoveryv1.AddressType{"IPv4", "IPv4", "IPv6", "FQDN", "ipv4"})
	for range rapid.IntRange(0, 4).Draw(t, "endpoints") {
		from := four
		if s.AddressType == discoveryv1.AddressTypeIPv6 {
			from = six
		}
		if rapid.IntRange(0, 15).Draw(t, "sense") == 0 {
			from = nonsense
		}
		e := discoveryv1.Endpoint{Addresses: []string{odds(t, "address", from)}}
		if rapid.IntRange(0, 7).Draw(t, "more") == 0 {
			e.Addresses = append(e.Addresses, e.Addresses...)
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	for range rapid.IntRange(0, 3).Draw(t, "ports") {
		p := discoveryv1.EndpointPort{} // a name "" is what is made of none
		if name := odds(t, "port name", names); name != "" {
			p.Name = &name
		}
		if number := odds(t, "port", []int32{8080, 1, 65535, 0, -1, 65536}); number != 0 {
			p.Port = &number
		} else if rapid.Bool().Draw(t, "zero") {
			p.Port = new(int32)
		}
		if protocol := odds(t, "protocol", []corev1.Protocol{"", "UDP", "SCTP", "TCP", "tcp"}); protocol != "" {
			p.Protocol = &protocol
		}
		s.Ports = append(s.Ports, p)
	}
	return s
}
