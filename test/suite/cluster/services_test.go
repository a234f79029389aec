package cluster

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// gone waits until nothing of a Service is programmed.
func gone(t *testing.T, s testbed.Service) {
	t.Helper()
	await(t, func() error {
		for _, f := range s.Frontends() {
			for _, at := range []string{f.V4.String(), f.V6.Addr().String()} {
				if f.Name == "node port" {
					at = fmt.Sprintf("tcp:%d", f.V4.Port())
				}
				if left := programmed(t, at); left != "" {
					return fmt.Errorf("there is left of the %s:\n%s", f.Name, left)
				}
			}
		}
		return nil
	})
}

// A Service of each type is served as soon as it is made, changed as soon as it
// is changed, and gone as soon as it is deleted.
func TestServices(t *testing.T) {
	begin(t)
	d := start(t)
	types := []testbed.Service{
		{Name: "cluster-ip", Number: 1},
		{Name: "node-port", Number: 2, Type: "NodePort"},
		{Name: "load-balancer", Number: 3, Type: "LoadBalancer"},
		{Name: "external-ips", Number: 4, External: true},
	}
	answers := func(s testbed.Service, name string) {
		reached(t, bed.C1, s.Frontends(), name)
		reached(t, bed.Node, s.Frontends(), name)
		reached(t, bed.Ext, s.Outside(), name)
	}
	for _, s := range types {
		apply(t, bed.With(s, testbed.Backends(bed.P1)))
	}
	for _, s := range types {
		answers(s, "p1")
		apply(t, bed.With(s, testbed.Backends(bed.R1)))
	}
	settled(t, d)
	for _, s := range types {
		answers(s, "r1")
		explained(t, d, s)
		s.Port = 81
		apply(t, s.Manifest())
	}
	settled(t, d)
	for _, s := range types {
		s.Port = 81
		answers(s, "r1")
		must(t, control.Delete(t.Context(), s.Name))
	}
	for _, s := range types {
		s.Port = 81
		gone(t, s)
	}
	settled(t, d)
}

// explained asks for the explanation of a Service from the API server and the kernel.
func explained(t *testing.T, d *testbed.Daemon, s testbed.Service) {
	t.Helper()
	out, err := d.Command(t.Context(), "explain", "default/"+s.Name, "--from", bed.C1.IPv4.String()).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "10.244.1.31:8080  weight 1  chosen:") || !strings.Contains(string(out), "No object differs.") {
		t.Errorf("explain %s: %v: %s", s.Name, err, out)
	}
}

// The addresses of a load balancer and of a type come and go with the type.
func TestTypeChanges(t *testing.T) {
	begin(t)
	d := start(t)
	s := testbed.Service{Name: "web", Number: 5, Type: "LoadBalancer"}
	plain := s
	plain.Type = ""
	for range 2 {
		apply(t, bed.With(s, testbed.Backends(bed.P1)))
		reached(t, bed.Ext, s.Outside(), "p1")
		apply(t, plain.Manifest())
		settled(t, d)
		reached(t, bed.Ext, []testbed.Frontend{s.NodePort()}, "refused")
		reached(t, bed.C1, plain.Frontends(), "p1")
	}
	outside := corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"}
	api := control.Client().CoreV1().Services(cluster.Namespace)
	old, err := api.Get(t.Context(), s.Name, metav1.GetOptions{})
	must(t, err)
	old.Spec = outside
	_, err = api.Update(t.Context(), old, metav1.UpdateOptions{})
	must(t, err)
	gone(t, plain)
	must(t, control.Delete(t.Context(), s.Name))
	apply(t, bed.With(plain, testbed.Backends(bed.P2)))
	reached(t, bed.C1, plain.Frontends(), "p2")
}

// A Service without an address of its own leaves no trace.
func TestServicesWithoutAddress(t *testing.T) {
	begin(t)
	d := start(t)
	s := testbed.Service{Name: "mark", Number: 6}
	apply(t, bed.With(s, testbed.Backends(bed.P1)))
	settled(t, d)
	before := snapshot(t)
	for _, spec := range []corev1.ServiceSpec{
		{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Port: 80}}},
		{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"},
	} {
		_, err := control.Client().CoreV1().Services(cluster.Namespace).Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{GenerateName: "none-"}, Spec: spec}, metav1.CreateOptions{})
		must(t, err)
	}
	// Events come in order: those two have been read when this is there.
	later := testbed.Service{Name: "later", Number: 7}
	apply(t, bed.With(later, testbed.Backends(bed.P1)))
	reached(t, bed.C1, later.Frontends(), "p1")
	must(t, control.Delete(t.Context(), later.Name))
	gone(t, later)
	settled(t, d)
	same(t, before, snapshot(t))
}

// Addresses that the API server chose, of one family or both.
func TestFamilies(t *testing.T) {
	begin(t)
	d := start(t)
	for _, c := range []struct {
		name     string
		families []corev1.IPFamily
	}{
		{"four", []corev1.IPFamily{corev1.IPv4Protocol}},
		{"six", []corev1.IPFamily{corev1.IPv6Protocol}},
		{"six-four", []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}},
	} {
		policy := corev1.IPFamilyPolicySingleStack
		if len(c.families) == 2 {
			policy = corev1.IPFamilyPolicyRequireDualStack
		}
		spec := corev1.ServiceSpec{IPFamilies: c.families, IPFamilyPolicy: &policy, Ports: []corev1.ServicePort{{Name: "tcp", Port: 80}}}
		made, err := control.Client().CoreV1().Services(cluster.Namespace).Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: c.name}, Spec: spec}, metav1.CreateOptions{})
		must(t, err)
		apply(t, bed.Slices(c.name, "tcp", "TCP", testbed.TargetPort, testbed.Backends(bed.P2)))
		for _, ip := range made.Spec.ClusterIPs {
			await(t, func() error { return asked(t.Context(), bed.C1, "tcp", addr(ip, 80), []string{"p2"}) })
		}
		if n := len(made.Spec.ClusterIPs); n != len(c.families) {
			t.Errorf("%s has %d ClusterIPs", c.name, n)
		}
	}
	settled(t, d)
}
