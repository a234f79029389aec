package model

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// line prints a Service as the tables below want it.
func line(s *Service) string {
	var b strings.Builder
	add := func(name string, v any) {
		if text := fmt.Sprint(v); text != "" && text != "false" && text != "0" && text != "0s" {
			fmt.Fprintf(&b, " %s=%s", name, text)
		}
	}
	b.WriteString(texts(s.ClusterIPs))
	add("ext", texts(s.ExternalIPs))
	add("lb", texts(s.LoadBalancerIPs))
	add("from", texts(s.SourceRanges))
	add("extlocal", s.ExternalLocal)
	add("intlocal", s.InternalLocal)
	add("affinity", s.Affinity)
	add("scheduler", s.Balance.Scheduler.Name)
	add("health", s.HealthCheckPort)
	for _, p := range s.Ports {
		fmt.Fprintf(&b, " %s:%d/%s", p.Name, p.Port, p.Protocol)
		if p.NodePort != 0 {
			fmt.Fprintf(&b, "@%d", p.NodePort)
		}
	}
	return b.String()
}

type svcTest struct {
	name  string
	edit  func(*corev1.Service)
	want  string // of line; empty: none of ours
	field string // of the first problem; empty: no problem
	about string // part of its message
}

func (tt svcTest) run(t *testing.T) {
	m := modelOf(t, service(tt.edit))
	got := ""
	if v, ok := m.View(web); ok {
		got = line(v.Service)
	}
	if got != tt.want {
		t.Errorf("got  %q\nwant %q", got, tt.want)
	}
	problems := m.Board().List()
	switch {
	case tt.field == "" && len(problems) > 0:
		t.Errorf("unexpected problems %v", problems)
	case tt.field != "" && len(problems) == 0:
		t.Errorf("no problem with %s", tt.field)
	case tt.field != "":
		for _, p := range problems {
			if p.Origin != "test" || !strings.Contains(p.Message, "; ") {
				t.Errorf("problem without origin or consequence: %v", p)
			}
		}
		if p := problems[0]; p.Field != tt.field || !strings.Contains(p.Message, tt.about) {
			t.Errorf("problem %q, want %s about %q", p, tt.field, tt.about)
		}
	}
}

func TestServiceForms(t *testing.T) {
	for _, tt := range []svcTest{
		{name: "plain", edit: func(s *corev1.Service) {}, want: "10.96.0.10 :80/TCP"},
		{name: "dual stack", edit: dual, want: "10.96.0.10 fd00::10 :80/TCP"},
		{name: "several ports", edit: func(s *corev1.Service) {
			s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "dns", Port: 53, Protocol: "UDP"}, {Name: "dns-tcp", Port: 53}}
		}, want: "10.96.0.10 http:80/TCP dns:53/UDP dns-tcp:53/TCP"},
		{name: "external name", edit: func(s *corev1.Service) { s.Spec = corev1.ServiceSpec{Type: "ExternalName", ExternalName: "x.example"} }},
		{name: "headless", edit: func(s *corev1.Service) { s.Spec.ClusterIP = "None" }},
		{name: "headless by list", edit: func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "", []string{"None"} }},
		{name: "other proxy", edit: func(s *corev1.Service) { s.Labels = map[string]string{labelProxyName: "kpng"} }},
		{name: "headless label", edit: func(s *corev1.Service) { s.Labels = map[string]string{corev1.IsHeadlessService: ""} }, want: "10.96.0.10 :80/TCP"},
		{name: "no cluster IP", edit: func(s *corev1.Service) { s.Spec.ClusterIP = "" }, field: "spec.clusterIP", about: "kube-ipvs allocates none"},
		{name: "affinity", edit: func(s *corev1.Service) { s.Spec.SessionAffinity = "ClientIP" }, want: "10.96.0.10 affinity=3h0m0s :80/TCP"},
		{name: "scheduler", edit: func(s *corev1.Service) { s.Annotations = map[string]string{SchedulerAnnotation: "mh"} }, want: "10.96.0.10 scheduler=mh :80/TCP"},
		{name: "internal local", edit: func(s *corev1.Service) { s.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal) }, want: "10.96.0.10 intlocal=true :80/TCP"},
		{name: "external local without a way in", edit: func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = "Local" }, want: "10.96.0.10 :80/TCP"},
		{name: "external local by external IP", edit: func(s *corev1.Service) {
			s.Spec.ExternalTrafficPolicy, s.Spec.ExternalIPs = "Local", []string{"192.0.2.7", "192.0.2.7"}
		}, want: "10.96.0.10 ext=192.0.2.7 extlocal=true :80/TCP"},
		{name: "node port", edit: func(s *corev1.Service) {
			s.Spec.Type, s.Spec.Ports[0].NodePort, s.Spec.ExternalTrafficPolicy = "NodePort", 30080, "Local"
		}, want: "10.96.0.10 extlocal=true :80/TCP@30080"},
		{name: "one node port for two protocols", edit: func(s *corev1.Service) {
			s.Spec.Type = "NodePort"
			s.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 53, NodePort: 30053}, {Name: "b", Port: 53, Protocol: "UDP", NodePort: 30053}}
		}, want: "10.96.0.10 a:53/TCP@30053 b:53/UDP@30053"},
		{name: "load balancer", edit: loadBalancer, want: "10.96.0.10 lb=192.0.2.1 :80/TCP@30080"},
		{name: "load balancer without node port", edit: func(s *corev1.Service) { loadBalancer(s); s.Spec.Ports[0].NodePort = 0 }, want: "10.96.0.10 lb=192.0.2.1 :80/TCP"},
		{name: "ingress modes", edit: func(s *corev1.Service) {
			loadBalancer(s)
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress,
				corev1.LoadBalancerIngress{IP: "192.0.2.2", IPMode: new(corev1.LoadBalancerIPModeProxy)},
				corev1.LoadBalancerIngress{IP: "192.0.2.3", IPMode: new(corev1.LoadBalancerIPModeVIP)},
				corev1.LoadBalancerIngress{Hostname: "lb.example"})
		}, want: "10.96.0.10 lb=192.0.2.1 192.0.2.3 :80/TCP@30080"},
		{name: "source ranges", edit: func(s *corev1.Service) {
			loadBalancer(s)
			s.Spec.LoadBalancerSourceRanges = []string{"203.0.113.9/24", " 0.0.0.0/0", "fd00::/8"}
			s.Annotations = map[string]string{corev1.AnnotationLoadBalancerSourceRangesKey: "1.2.3.4/32"}
		}, want: "10.96.0.10 lb=192.0.2.1 from=0.0.0.0/0 fd00::/8 :80/TCP@30080"},
		{name: "source ranges by annotation, which are for a cloud provider", edit: func(s *corev1.Service) {
			loadBalancer(s)
			s.Annotations = map[string]string{corev1.AnnotationLoadBalancerSourceRangesKey: "1.2.3.4/32, x"}
		}, want: "10.96.0.10 lb=192.0.2.1 :80/TCP@30080"},
		{name: "health check port", edit: func(s *corev1.Service) {
			loadBalancer(s)
			s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = "Local", 32000
		}, want: "10.96.0.10 lb=192.0.2.1 extlocal=true health=32000 :80/TCP@30080"},
		{name: "health check port with policy Cluster", edit: func(s *corev1.Service) { loadBalancer(s); s.Spec.HealthCheckNodePort = 32000 }, want: "10.96.0.10 lb=192.0.2.1 :80/TCP@30080"},
	} {
		t.Run(tt.name, tt.run)
	}
}

func TestServicePortFaults(t *testing.T) {
	const only = "10.96.0.10 a:80/TCP"
	second := func(p corev1.ServicePort) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 80}, p} }
	}
	for _, tt := range []svcTest{
		{"port 0", second(corev1.ServicePort{Name: "b"}), only, "spec.ports[1].port", "this port is left out"},
		{"negative port", second(corev1.ServicePort{Name: "b", Port: -1}), only, "spec.ports[1].port", "-1 is not in 1..65535"},
		{"port 65536", second(corev1.ServicePort{Name: "b", Port: 65536}), only, "spec.ports[1].port", "65536"},
		{"no ports", func(s *corev1.Service) { s.Spec.Ports = nil }, "10.96.0.10", "spec.ports", "nothing to serve"},
		{"duplicate name", second(corev1.ServicePort{Name: "a", Port: 81}), only, "spec.ports[1].name", `"a" occurs twice`},
		{"duplicate port", second(corev1.ServicePort{Name: "b", Port: 80}), only, "spec.ports[1].port", "80/TCP occurs twice"},
		{"unnamed among several", second(corev1.ServicePort{Port: 81}), only, "spec.ports[1].name", "needs a name"},
		{"name with upper case", second(corev1.ServicePort{Name: "B", Port: 81}), only, "spec.ports[1].name", "DNS label"},
		{"unknown protocol", second(corev1.ServicePort{Name: "b", Port: 81, Protocol: "ICMP"}), only, "spec.ports[1].protocol", "ICMP"},
		{"lower-case protocol", second(corev1.ServicePort{Name: "b", Port: 81, Protocol: "tcp"}), only, "spec.ports[1].protocol", "tcp"},
		{"target port", second(corev1.ServicePort{Name: "b", Port: 81, TargetPort: intstr.FromInt32(70000)}), only, "spec.ports[1].targetPort", "70000"},
		{"node port of ClusterIP", second(corev1.ServicePort{Name: "b", Port: 81, NodePort: 30000}), only + " b:81/TCP", "spec.ports[1].nodePort", "ClusterIP has no node ports"},
		{"node port 70000", func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports[0].NodePort = "NodePort", 70000 }, "10.96.0.10 :80/TCP", "spec.ports[0].nodePort", "this port has no node port"},
		{"no node port", func(s *corev1.Service) { s.Spec.Type = "NodePort" }, "10.96.0.10 :80/TCP", "spec.ports[0].nodePort", "kube-ipvs allocates none"},
		{"duplicate node port", func(s *corev1.Service) {
			second(corev1.ServicePort{Name: "b", Port: 81, NodePort: 30000})(s)
			s.Spec.Type, s.Spec.Ports[0].NodePort = "NodePort", 30000
		}, only + "@30000 b:81/TCP", "spec.ports[1].nodePort", "30000/TCP occurs twice"},
	} {
		t.Run(tt.name, tt.run)
	}
}

func TestServiceAddressFaults(t *testing.T) {
	clusterIPs := func(ips ...string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "", ips }
	}
	const plain = "10.96.0.10 :80/TCP"
	tests := []svcTest{
		{"equal families", clusterIPs("10.96.0.10", "10.96.0.11"), plain, "spec.clusterIPs[1]", "second IPv4"},
		{"three", clusterIPs("10.96.0.10", "fd00::10", "fd00::11"), "10.96.0.10 fd00::10 :80/TCP", "spec.clusterIPs", "more than two"},
		{"one bad of two", clusterIPs("10.96.0.10", "fd00::zz"), plain, "spec.clusterIPs[1]", "not an IP address"},
		{"None among others", clusterIPs("10.96.0.10", "None"), plain, "spec.clusterIPs[1]", "not an IP address"},
		{"list differs", func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"10.96.0.11"} }, "10.96.0.11 :80/TCP", "spec.clusterIP", "clusterIPs counts"},
		{"family not listed", func(s *corev1.Service) { dual(s); s.Spec.IPFamilies = []corev1.IPFamily{"IPv4"} }, plain, "spec.clusterIPs[1]", "ipFamilies does not list"},
		{"zeros in front", clusterIPs("010.096.000.010", "fd00::0.0.0.020"), "10.96.0.10 fd00::14 :80/TCP", "", ""},
		{"IPv6 form of IPv4", clusterIPs("::ffff:10.96.0.10", "FD00:0::0010"), "10.96.0.10 fd00::10 :80/TCP", "", ""},
		{"two forms of one", clusterIPs("10.96.0.10", "::ffff:10.96.0.010"), plain, "spec.clusterIPs[1]", "second IPv4"},
		{"external IPs in other forms", func(s *corev1.Service) {
			s.Spec.ExternalIPs = []string{"192.0.002.007", "::ffff:192.0.2.8", "192.0.2.7"}
		}, "10.96.0.10 ext=192.0.2.7 192.0.2.8 :80/TCP", "", ""},
		{"ingress in other forms", func(s *corev1.Service) { loadBalancer(s); s.Status.LoadBalancer.Ingress[0].IP = "192.000.2.001" }, "10.96.0.10 lb=192.0.2.1 :80/TCP@30080", "", ""},
		{"headless load balancer", func(s *corev1.Service) { s.Spec.Type, s.Spec.ClusterIP = "LoadBalancer", "None" }, "", "spec.clusterIP", "cannot be headless"},
		{"external IP of a family not served", func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"fd00::1"} }, plain, "", ""},
		{"ingress of a family not served", func(s *corev1.Service) { loadBalancer(s); s.Status.LoadBalancer.Ingress[0].IP = "fd00::1" }, plain + "@30080", "", ""},
		{"ingress mode", func(s *corev1.Service) {
			loadBalancer(s)
			s.Status.LoadBalancer.Ingress[0].IPMode = new(corev1.LoadBalancerIPMode("Vip"))
		}, plain + "@30080", "status.loadBalancer.ingress[0].ipMode", "Vip"},
		{"ingress of ClusterIP", func(s *corev1.Service) { loadBalancer(s); s.Spec.Type, s.Spec.Ports[0].NodePort = "ClusterIP", 0 }, plain, "status.loadBalancer.ingress", "only a service of type LoadBalancer"},
	}
	for bad, about := range map[string]string{
		"10.96.0": "not an IP", "": "not an IP", "010.0.0.256": "not an IP", "0.0.0.0": "unspecified", "::": "unspecified",
		"127.0.0.1": "loopback", "::1": "loopback", "224.0.0.1": "multicast", "ff02::1": "multicast", "169.254.1.1": "link-local",
		"fe80::1": "link-local", "fd00::1%eth0": "not an IP", "::ffff:127.0.0.1": "loopback", "255.255.255.255": "broadcast",
	} {
		if bad != "" {
			tests = append(tests, svcTest{"cluster IP " + bad, clusterIPs(bad), "", "spec.clusterIPs", "no usable address"})
			tests = append(tests, svcTest{"ingress " + bad, func(s *corev1.Service) { loadBalancer(s); s.Status.LoadBalancer.Ingress[0].IP = bad }, plain + "@30080", "status.loadBalancer.ingress[0].ip", about})
		}
		tests = append(tests, svcTest{"external IP " + bad, func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.9", bad} }, "10.96.0.10 ext=192.0.2.9 :80/TCP", "spec.externalIPs[1]", about})
	}
	for _, tt := range tests {
		t.Run(tt.name, tt.run)
	}
}

func TestServiceOtherFaults(t *testing.T) {
	const plain, lb = "10.96.0.10 :80/TCP", "10.96.0.10 lb=192.0.2.1 :80/TCP@30080"
	timeout := func(n int32) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec.SessionAffinity = "ClientIP"
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &n}}
		}
	}
	ranges := func(r ...string) func(*corev1.Service) {
		return func(s *corev1.Service) { loadBalancer(s); s.Spec.LoadBalancerSourceRanges = r }
	}
	scheduler := func(name string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Annotations = map[string]string{SchedulerAnnotation: name} }
	}
	annotated := func(names ...string) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Annotations = map[string]string{SchedulerAnnotation: ""}
			for _, name := range names {
				s.Annotations[name] = "lc"
			}
		}
	}
	const affinityField = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
	const schedulerField = "metadata.annotations[kube-ipvs/scheduler]"
	for _, tt := range []svcTest{
		{"type", func(s *corev1.Service) { s.Spec.Type = "Nodeport" }, plain, "spec.type", "treated as ClusterIP"},
		{"affinity", func(s *corev1.Service) { s.Spec.SessionAffinity = "Cookie" }, plain, "spec.sessionAffinity", "Cookie"},
		{"affinity timeout 0", timeout(0), "10.96.0.10 affinity=3h0m0s :80/TCP", affinityField, "10800 is used"},
		{"affinity timeout 86401", timeout(86401), "10.96.0.10 affinity=3h0m0s :80/TCP", affinityField, "1..86400"},
		{"external policy", func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = "local" }, plain, "spec.externalTrafficPolicy", "local"},
		{"internal policy", func(s *corev1.Service) {
			s.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicy("node"))
		}, plain, "spec.internalTrafficPolicy", "node"},
		{"health check port", func(s *corev1.Service) {
			loadBalancer(s)
			s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = "Local", 70000
		}, "10.96.0.10 lb=192.0.2.1 extlocal=true :80/TCP@30080", "spec.healthCheckNodePort", "70000"},
		{"one bad range", ranges("10.0.0.0/8", "10.0.0.0/33"), "10.96.0.10 lb=192.0.2.1 from=10.0.0.0/8 :80/TCP@30080", "spec.loadBalancerSourceRanges[1]", "this range is left out"},
		{"ranges in others", ranges("10.1.2.0/24", "10.0.0.0/16", "10.1.0.0/16", "10.0.9.1/32", "fd00::/64", "fd00::/8", "10.1.0.0/16"), "10.96.0.10 lb=192.0.2.1 from=10.0.0.0/16 10.1.0.0/16 fd00::/8 :80/TCP@30080", "", ""},
		{"ranges in other forms", ranges(" 010.001.0.0/016", "::ffff:172.16.0.1/108"), "10.96.0.10 lb=192.0.2.1 from=10.1.0.0/16 172.16.0.0/12 :80/TCP@30080", "", ""},
		{"only bad ranges let nobody in", ranges("10.0.0.1"), "10.96.0.10 :80/TCP@30080", "spec.loadBalancerSourceRanges", "addresses are left out"},
		{"ranges of ClusterIP", func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8"} }, plain, "spec.loadBalancerSourceRanges", "only a service of type LoadBalancer"},
		{"scheduler upper case", scheduler("RR"), plain, schedulerField, "the node's scheduler is used"},
		{"scheduler too long", scheduler("abcdefghijklmnop"), plain, schedulerField, "up to 15"},
		{"annotation misspelled", annotated("kube-ipvs/schedular"), plain, "metadata.annotations", `"kube-ipvs/schedular" is unknown; known with this prefix: kube-ipvs/eject-after, kube-ipvs/max-connections, kube-ipvs/scheduler, kube-ipvs/slow-start, kube-ipvs/weights; it is ignored`},
		{"annotations unknown", annotated("kube-ipvs/z", "kube-ipvs/a", "kube-ipvs.io/x", "kube-ipvs"), plain, "metadata.annotations", `2 annotations such as "kube-ipvs/a" are unknown; known with this prefix: kube-ipvs/eject-after, kube-ipvs/max-connections, kube-ipvs/scheduler, kube-ipvs/slow-start, kube-ipvs/weights; they are ignored`},
	} {
		t.Run(tt.name, tt.run)
	}
	if v := mustView(t, modelOf(t, service(loadBalancer)), web); line(v.Service) != lb {
		t.Errorf("%s is not the base of these tests: %s", lb, line(v.Service))
	}
}

func TestServiceNames(t *testing.T) {
	for _, tt := range []struct{ namespace, name, field string }{
		{"", "web", "metadata.namespace"},
		{"Default", "web", "metadata.namespace"},
		{"default", "", "metadata.name"},
		{"default", "web.x", "metadata.name"},
		{"default", strings.Repeat("w", 64), "metadata.name"},
	} {
		m := modelOf(t, service(func(s *corev1.Service) { s.Namespace, s.Name = tt.namespace, tt.name }))
		if keys := m.Keys(); len(keys) != 0 {
			t.Errorf("%q/%q is served: %v", tt.namespace, tt.name, keys)
		}
		if p := m.Board().List(); len(p) != 1 || p[0].Field != tt.field {
			t.Errorf("%q/%q: problems %v", tt.namespace, tt.name, p)
		}
	}
}

func TestServiceIdentity(t *testing.T) {
	at := time.Date(2025, 1, 2, 3, 4, 5, 0, time.FixedZone("x", 3600))
	m := modelOf(t, service(func(s *corev1.Service) { s.UID, s.CreationTimestamp = "u1", metav1.NewTime(at) }))
	v := mustView(t, m, web)
	if v.UID != "u1" || !v.Created.Equal(at) || v.Key != web {
		t.Errorf("identity %+v", v.Service)
	}
	if v := mustView(t, modelOf(t, service()), web); !v.Created.IsZero() {
		t.Errorf("created %v, want zero", v.Created)
	}
}

func TestBareObjectNeedsNoDefaults(t *testing.T) {
	bare := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.10", Ports: []corev1.ServicePort{{Port: 80}}}}
	got, want := mustView(t, modelOf(t, bare), web), mustView(t, modelOf(t, service()), web)
	if line(got.Service) != line(want.Service) {
		t.Errorf("bare %q, defaulted %q", line(got.Service), line(want.Service))
	}
}

// A tenant may write a megabyte where a word is meant, and what is wrong goes to
// the log of every node and into Events.
func TestLongTextsAreCut(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	m := modelOf(t, service(func(s *corev1.Service) {
		s.Spec.Type, s.Spec.SessionAffinity = corev1.ServiceType(long), corev1.ServiceAffinity("ä"+long)
		s.Spec.ExternalIPs = slices.Repeat([]string{long}, 100)
		s.Annotations = map[string]string{SchedulerAnnotation: long, AnnotationPrefix + long: long}
	}))
	total := 0
	for _, p := range m.Board().List() {
		total += len(p.String())
		if strings.Contains(p.Field, "xxx") {
			t.Errorf("the field has the tenant's text: %s", p.Field)
		}
	}
	if n := len(m.Board().List()); n != maxRemarks+1 || total > n*500 {
		t.Errorf("%d problems of %d bytes", n, total)
	}
}
