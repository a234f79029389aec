package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"

	kube "kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// Probes are Services that begin without endpoints.
const probeCount = 60

func probeName(i int) string { return fmt.Sprintf("probe-%02d", i) }

func probeAddr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, 1, byte(1 + i)}), 80)
}

// The critical Services, which a start programs first.
var (
	kubernetesAddr = netip.MustParseAddrPort("10.96.0.1:443")
	dnsAddr        = netip.MustParseAddrPort("10.96.0.10:53")
)

// addProbes makes the probes, DNS, and endpoints for default/kubernetes, which
// this API server leaves to others.
func (l *lab) addProbes(ctx context.Context) error {
	err := kube.Each(probeCount, func(i int) error {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: probeName(i)}}
		s.Spec.ClusterIP = probeAddr(i).Addr().String()
		s.Spec.Ports = []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(testbed.TargetPort)}}
		if _, err := l.control.Client().CoreV1().Services(kube.Namespace).Create(ctx, s, metav1.CreateOptions{}); err != nil {
			return err
		}
		_, err := l.slices(kube.Namespace).Create(ctx, l.slice(s.Name), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	r1 := l.R1.IPv4.String()
	https := "https"
	kubernetes := l.slice("kubernetes", r1)
	kubernetes.Ports[0].Name = &https
	if _, err := l.slices(kube.Namespace).Create(ctx, kubernetes, metav1.CreateOptions{}); err != nil {
		return err
	}
	dns := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "kube-dns"}}
	dns.Spec.ClusterIP = dnsAddr.Addr().String()
	slice := l.slice(dns.Name, r1)
	slice.Ports = nil
	for _, p := range []struct {
		name  string
		proto corev1.Protocol
	}{{"dns", corev1.ProtocolUDP}, {"dns-tcp", corev1.ProtocolTCP}} {
		target := int32(testbed.TargetPort)
		dns.Spec.Ports = append(dns.Spec.Ports, corev1.ServicePort{Name: p.name, Protocol: p.proto, Port: int32(dnsAddr.Port()), TargetPort: intstr.FromInt32(target)})
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &p.name, Protocol: &p.proto, Port: &target})
	}
	// A new API server makes the namespace, and the Service kubernetes, in its own time.
	return testbed.Await(ctx, time.Minute, func() error {
		if _, err := l.control.Client().CoreV1().Services(kube.Namespace).Get(ctx, "kubernetes", metav1.GetOptions{}); err != nil {
			return err
		}
		if _, err := l.control.Client().CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{}); err != nil {
			return err
		}
		if _, err := l.control.Client().CoreV1().Services(metav1.NamespaceSystem).Create(ctx, dns, metav1.CreateOptions{}); err != nil {
			return err
		}
		_, err := l.slices(metav1.NamespaceSystem).Create(ctx, slice, metav1.CreateOptions{})
		return err
	})
}

// probes are followed by a watch of the benchmark's own: the floor for any
// proxy that is told by the API server.
type probes struct {
	watch   watch.Interface
	mu      sync.Mutex
	waiting map[string]func(active bool) // by name: called at the change
	active  [probeCount]bool
	used    int // so far
}

// watchProbes begins to follow all EndpointSlices.
func (l *lab) watchProbes(ctx context.Context) (*probes, error) {
	var w watch.Interface
	err := testbed.Await(ctx, 3*time.Minute, func() error {
		list, err := l.slices(metav1.NamespaceAll).List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil {
			return err
		}
		w, err = l.slices(metav1.NamespaceAll).Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		return err
	})
	if err != nil {
		return nil, err
	}
	p := &probes{watch: w, waiting: map[string]func(bool){}}
	go func() {
		for e := range w.ResultChan() {
			s, ok := e.Object.(*discoveryv1.EndpointSlice)
			if !ok {
				continue
			}
			p.mu.Lock()
			tell := p.waiting[s.Name]
			p.mu.Unlock()
			if tell != nil {
				tell(len(s.Endpoints) > 0)
			}
		}
	}()
	return p, nil
}

// expect calls f once, when the watch shows that a probe is as it is to be.
func (p *probes) expect(i int, active bool, f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var once sync.Once
	p.waiting[probeName(i)] = func(now bool) {
		if now == active {
			once.Do(f)
		}
	}
}

// end stops following, and removes all endpoints of the probes. The removal of a
// proxy's objects may take the one CPU so long that connections to the control plane
// are lost.
func (p *probes) end(ctx context.Context, l *lab) error {
	p.watch.Stop()
	return kube.Each(probeCount, func(i int) error {
		if !p.active[i] {
			return nil
		}
		return testbed.Await(ctx, time.Minute, func() error { return l.control.Rewrite(ctx, l.probeSlice(i, false)) })
	})
}

// setProbe gives a probe its only endpoint, or takes it, by the API.
func (l *lab) setProbe(ctx context.Context, i int, active bool) error {
	return testbed.Await(ctx, time.Minute, func() error {
		_, err := l.slices(kube.Namespace).Update(ctx, l.probeSlice(i, active), metav1.UpdateOptions{})
		return err
	})
}

func (l *lab) probeSlice(i int, active bool) *discoveryv1.EndpointSlice {
	if active {
		return l.slice(probeName(i), l.R1.IPv4.String())
	}
	return l.slice(probeName(i))
}
