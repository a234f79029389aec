package cluster

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// fill makes many Services, each with as many endpoints.
func fill(t *testing.T, c *cluster.Cluster, many, endpoints int) {
	t.Helper()
	var services []*corev1.Service
	var slices []*discoveryv1.EndpointSlice
	for i := range many {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("many-%d", i)}}
		s.Spec.ClusterIP = fmt.Sprintf("10.96.%d.%d", 100+i/200, i%200+1)
		s.Spec.Ports = []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(testbed.TargetPort)}}
		services = append(services, s)
		slices = append(slices, manyEndpoints(s.Name, i, endpoints))
	}
	began := time.Now()
	must(t, c.Seed(t.Context(), services, slices))
	t.Logf("%d Services with %d endpoints were made in %s", many, endpoints, time.Since(began).Round(time.Millisecond))
}

// readable checks that the API server shows all that has been seeded.
func readable(t *testing.T, c *cluster.Cluster, many int) {
	t.Helper()
	one := metav1.ListOptions{Limit: 1}
	services, err := c.Client().CoreV1().Services(cluster.Namespace).List(t.Context(), one)
	must(t, err)
	slices, err := c.Client().DiscoveryV1().EndpointSlices(cluster.Namespace).List(t.Context(), one)
	must(t, err)
	for what, rest := range map[string]*int64{"Services": services.RemainingItemCount, "EndpointSlices": slices.RemainingItemCount} {
		if rest == nil || *rest+1 < int64(many) {
			t.Fatalf("the API server does not show %d %s", many, what)
		}
	}
}

// manyEndpoints are those of Service i, out of some 2,000.
func manyEndpoints(name string, i, n int) *discoveryv1.EndpointSlice {
	port, no, tcp := int32(testbed.TargetPort), "", corev1.ProtocolTCP
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &no, Port: &port, Protocol: &tcp}},
	}
	ready := true
	for j := range n {
		id := (i*7 + j*191) % 2000
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.244.%d.%d", 8+id/200, id%200+1)}, NodeName: &bed.Node2.Name,
			Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		})
	}
	return s
}

// servers counts the virtual and real servers that the kernel shows.
func servers() (virtual, real int, err error) {
	var text []byte
	err = bed.Node.Do(func() error {
		text, err = os.ReadFile("/proc/thread-self/net/ip_vs")
		return err
	})
	return bytes.Count(text, []byte("\nTCP ")), bytes.Count(text, []byte("\n  -> ")) - 1, err
}

// allServed waits until the kernel has that many of each. A Service without
// endpoints may have a virtual server, too.
func allServed(t *testing.T, limit time.Duration, virtual, real int) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		v, r, err := servers()
		must(t, err)
		if v >= virtual && r == real {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the kernel has %d virtual and %d real servers, want %d and %d", v, r, virtual, real)
		}
		time.Sleep(200 * time.Millisecond) // the kernel prints thousands of lines each time
	}
}

const burstServices = 5000

// Many Services that appear at once are all programmed.
func burst(t *testing.T, c *cluster.Cluster) {
	d := startWith(t, c.Kubeconfig(cluster.Admin))
	settled(t, d)
	virtual, real, err := servers()
	must(t, err)
	rounds := strings.Count(d.Log(), "msg=round ")
	fill(t, c, burstServices, 1)
	began := time.Now()
	allServed(t, time.Minute, virtual+burstServices, real+burstServices)
	t.Logf("all were programmed %s after the last was made, in %d rounds that wrote", time.Since(began).Round(time.Millisecond), strings.Count(d.Log(), "msg=round ")-rounds)
	readable(t, c, burstServices)
	await(t, func() error { return d.Settled(t.Context()) })
}
