package model

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"kube-ipvs/netutil/ipfamily"
)

func wantDirty(t *testing.T, m *Model, after, want string) {
	t.Helper()
	if got := texts(m.TakeDirty()); got != want {
		t.Errorf("after %s: dirty %q, want %q", after, got, want)
	}
}

func rename(namespace, name string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Namespace, s.Name = namespace, name }
}

func TestDirty(t *testing.T) {
	m := modelOf(t)
	wantDirty(t, m, "nothing", "")
	apply(t, m, endpoints("10.0.0.1"))
	wantDirty(t, m, "a slice for no service", "")
	apply(t, m, service())
	wantDirty(t, m, "its service", "default/web")
	wantDirty(t, m, "taking", "")
	apply(t, m, service(), endpoints("10.0.0.1"))
	wantDirty(t, m, "the same again", "")
	apply(t, m, service(func(s *corev1.Service) {
		s.ResourceVersion, s.Labels, s.Spec.Selector = "7", map[string]string{"a": "b"}, map[string]string{"a": "b"}
	}))
	wantDirty(t, m, "an irrelevant change", "")
	apply(t, m, service(rename("default", "db")))
	wantDirty(t, m, "another service", "default/db")
	apply(t, m, endpoints("10.0.0.1", "10.0.0.2"))
	wantDirty(t, m, "an endpoint more", "default/web")
	apply(t, m, service(func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 }))
	wantDirty(t, m, "another port", "default/web")
	moved := endpoints("10.0.0.1")
	moved.Labels[discoveryv1.LabelServiceName] = "db"
	apply(t, m, moved)
	wantDirty(t, m, "a slice that moves", "default/db default/web")
	m.DeleteSlice("default", "web-1")
	wantDirty(t, m, "a slice less", "default/db")
	m.DeleteSlice("default", "web-1")
	m.DeleteService(Key{"default", "gone"})
	wantDirty(t, m, "deleting what is not there", "")
	m.SetNode(Node{Name: "n1", Zone: "za"})
	wantDirty(t, m, "the same node", "")
	m.SetNode(Node{Name: "n1", Zone: "zb"})
	wantDirty(t, m, "another zone", "default/db default/web")
	m.DeleteService(web)
	wantDirty(t, m, "a service less", "default/web")
}

func TestNodeChangesTheView(t *testing.T) {
	m := modelOf(t, service(), endpoints("10.0.0.1 node=n1 zone=za", "10.0.0.2 node=n2 zone=zb"))
	m.SetNode(Node{Name: "n2", Zone: "zb"})
	if e := mustView(t, m, web).Endpoints[ipfamily.IPv4][0]; short(e.Cluster) != "2" || short(e.Local) != "2" {
		t.Errorf("got %+v", e)
	}
}

func TestServiceComesAndGoes(t *testing.T) {
	m := modelOf(t, endpoints("10.0.0.1"))
	if _, ok := m.View(web); ok {
		t.Error("a slice alone makes a service")
	}
	for range 2 {
		apply(t, m, service())
		if got := short(mustView(t, m, web).Endpoints[ipfamily.IPv4][0].Cluster); got != "1" {
			t.Errorf("got %q", got)
		}
		m.DeleteService(web)
		if _, ok := m.View(web); ok {
			t.Error("the service is still there")
		}
	}
	m.DeleteSlice("default", "web-1")
	if m.services.Len()+m.slices.Len() != 0 {
		t.Errorf("something is left: %v %v", m.services, m.slices)
	}
}

// A service that goes and comes again between two looks is dirty once.
func TestDirtyOnce(t *testing.T) {
	m := modelOf(t, service())
	m.DeleteService(web)
	apply(t, m, service())
	m.SetAllDirty()
	wantDirty(t, m, "coming again", "default/web")
	wantDirty(t, m, "a look", "")
	m.DeleteService(web)
	wantDirty(t, m, "going", "default/web")
}

func TestTypeRoundTrip(t *testing.T) {
	m := modelOf(t, service(), endpoints("10.0.0.1"))
	m.TakeDirty()
	for _, tt := range []struct {
		name string
		edit func(*corev1.Service)
		ours bool
	}{
		{"headless", func(s *corev1.Service) { s.Spec.ClusterIP = "None" }, false},
		{"plain", func(*corev1.Service) {}, true},
		{"external name", func(s *corev1.Service) { s.Spec.Type = "ExternalName" }, false},
		{"node port", func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports[0].NodePort = "NodePort", 30000 }, true},
		{"other proxy", func(s *corev1.Service) { s.Labels = map[string]string{labelProxyName: "x"} }, false},
		{"load balancer", loadBalancer, true},
	} {
		apply(t, m, service(tt.edit))
		wantDirty(t, m, tt.name, "default/web")
		if _, ok := m.View(web); ok != tt.ours {
			t.Errorf("%s: ours is %v", tt.name, ok)
		}
	}
}

// What cannot be used is told and left out, and holds nothing back: ports, endpoints
// and all else are followed as they are edited.
func TestFaultHoldsNothingBack(t *testing.T) {
	m := modelOf(t, service(), endpoints("10.0.0.1"))
	m.TakeDirty()
	apply(t, m, service(func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 81}, {Name: "b", Port: 70000}}
		s.Spec.ExternalIPs = []string{"239.1.2.3", "192.0.2.7"}
		s.UID = "u-1"
	}))
	wantDirty(t, m, "a version with faults", "default/web")
	if got := line(mustView(t, m, web).Service); got != "10.96.0.10 ext=192.0.2.7 a:81/TCP" {
		t.Errorf("got %q", got)
	}
	want := Problem{UID: "u-1", Origin: "test", Object: "Service default/web", Field: "spec.ports[1].port", Message: "70000 is not in 1..65535; this port is left out"}
	if p := m.Board().List(); len(p) != 2 || p[1] != want {
		t.Errorf("problems %v\nwant the second %v", p, want)
	}
	apply(t, m, endpoints("10.0.0.2", "127.0.0.1"))
	if p := m.Board().List(); len(p) != 3 || p[0].Object != "EndpointSlice default/web-1" || p[0].Field != "endpoints[1].addresses[0]" {
		t.Errorf("problems %v", p)
	}
	apply(t, m, service())
	if got := short(mustView(t, m, web).Endpoints[ipfamily.IPv4][0].Cluster); got != "2" || len(m.Board().List()) != 1 {
		t.Errorf("endpoints %q, problems %v", got, m.Board().List())
	}
	apply(t, m, service(func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.300" }))
	if _, ok := m.View(web); ok {
		t.Error("a service without an address is served")
	}
	m.DeleteService(web)
	m.DeleteSlice("default", "web-1")
	if p := m.Board().List(); len(p) != 0 {
		t.Errorf("problems of what is gone: %v", p)
	}
}

func TestBadSchedulerDoesNotHoldBackTheRest(t *testing.T) {
	m := modelOf(t, service(), service(func(s *corev1.Service) {
		s.Spec.Ports[0].Port = 81
		s.Annotations = map[string]string{SchedulerAnnotation: "Round Robin"}
	}))
	if v := mustView(t, m, web); v.Ports[0].Port != 81 || v.Balance.Scheduler.Name != "" || len(m.Board().List()) != 1 {
		t.Errorf("got %q, problems %v", line(v.Service), m.Board().List())
	}
}

func TestKeysAndProblemsAreSorted(t *testing.T) {
	port := func(n int32) func(*corev1.Service) { return func(s *corev1.Service) { s.Spec.Ports[0].Port = n } }
	m := modelOf(t, service(rename("b", "z")), service(rename("a", "z")), service(rename("a", "b"), port(53)),
		service(rename("kube-system", "metrics")), service(rename("kube-system", "zdns"), port(53)),
		service(rename("kube-system", "kube-dns"), port(53)), service(rename("default", "kubernetes")),
		service(rename("c", "headless"), func(s *corev1.Service) { s.Spec.ClusterIP = "None" }))
	const want = "default/kubernetes kube-system/kube-dns kube-system/zdns a/b a/z b/z kube-system/metrics"
	if got := texts(m.Keys()); got != want {
		t.Errorf("keys  %s\nwant %s", got, want)
	}
	wantDirty(t, m, "all", want)
	m.DeleteService(Key{"a", "z"})
	m.DeleteService(Key{"default", "kubernetes"})
	wantDirty(t, m, "deletion", "default/kubernetes a/z")

	m = New(Node{})
	m.ApplyService(service(rename("b", "z"), port(0)), "two")
	m.ApplyService(service(rename("a", "z"), port(0)), "two")
	m.ApplyService(service(rename("z", "z"), port(0), func(s *corev1.Service) { s.Spec.Type = "x" }), "one")
	for range 10 {
		var got []string
		for _, p := range m.Board().List() {
			got = append(got, p.Origin+" "+p.Object+" "+p.Field)
		}
		const want = "one Service z/z spec.ports[0].port, one Service z/z spec.type, two Service a/z spec.ports[0].port, two Service b/z spec.ports[0].port"
		if s := strings.Join(got, ", "); s != want {
			t.Fatalf("problems %s", s)
		}
	}
}

func TestProblemIsOneLine(t *testing.T) {
	p := Problem{Origin: "f.yaml", Object: "Service default/a\nb", Message: "line 1:\r\n\tbad"}
	if got := p.String(); got != "f.yaml: Service default/a b: line 1: bad" {
		t.Errorf("got %q", got)
	}
}
