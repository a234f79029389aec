package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"

	kube "kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// lab is the cluster that the proxies serve one after another: a node with a
// client pod, c1, another node with a pod, r1, that has the addresses of all
// endpoints, and a control plane on a third machine.
type lab struct {
	*testbed.Bed
	control *kube.Cluster
	binary  string
	seeded  int  // Services so far
	dressed bool // objects have fields that no proxy reads, and each is sent
	servers []io.Closer
	procs   int // GOMAXPROCS before

	rewritten atomic.Int64 // seeded Services, for churn
}

// pool is where the endpoints of seeded Services are: all of it is r1.
const (
	poolRoute = "10.244.8.0/22"
	poolSize  = 1000
)

func poolAddr(i int) string {
	i %= poolSize
	return fmt.Sprintf("10.244.%d.%d", 8+i/250, 1+i%250)
}

// newLab starts a control plane for an empty cluster.
func newLab(ctx context.Context, b *bench, o kube.Options) (*lab, error) {
	bed, err := testbed.New(ctx)
	if err != nil {
		return nil, err
	}
	// A goroutine that waits in a system call must not stop the other clients and
	// servers here, with any number of CPUs.
	l := &lab{Bed: bed, binary: b.binary, procs: runtime.GOMAXPROCS(16)}
	o.Peers, o.Host = b.peers, l.Ext
	if err := l.furnish(ctx, o); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *lab) furnish(ctx context.Context, o kube.Options) error {
	if err := l.serve(l.R1, testbed.TargetPort); err != nil {
		return err
	}
	if err := l.renew(ctx); err != nil {
		return err
	}
	for _, at := range []struct {
		host   *testbed.Host
		script string
	}{
		{l.Node2, "ip route add " + poolRoute + " via " + l.R1.IPv4.String() + " dev vr1 onlink"},
		{l.R1, "ip route add local " + poolRoute + " dev lo"},
		// Closed connections keep their ports for a minute, and all proxies are asked
		// for the same Services.
		{l.C1, "sysctl -qw net.ipv4.ip_local_port_range='1024 65535'"},
	} {
		if _, err := at.host.Shell(ctx, at.script); err != nil {
			return err
		}
	}
	var err error
	if l.control, err = kube.Start(ctx, l.Bed, o); err != nil {
		return err
	}
	return l.control.Nodes(ctx)
}

// renew gives the proxies a node on which nothing was ever programmed.
func (l *lab) renew(ctx context.Context) error {
	if err := l.RenewNode(ctx); err != nil {
		return err
	}
	// The kernel answers no more than a few refused clients a second, unless told
	// to; and it is for a network plugin to let nodes forward.
	_, err := l.Node.Shell(ctx, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_msgs_per_sec=1000000 net.ipv4.icmp_msgs_burst=1000000; "+
		"ip route add "+poolRoute+" via "+l.Node2.IPv4.String())
	return err
}

func (l *lab) close() error {
	var err error
	if l.control != nil {
		err = l.control.Close()
	}
	for _, s := range l.servers {
		_ = s.Close()
	}
	l.Bed.Close()
	runtime.GOMAXPROCS(l.procs)
	return err
}

// seed sees to it that there are as many Services, each with the same number of
// endpoints, and that kube-apiserver knows them: it starts anew.
func (l *lab) seed(ctx context.Context, services, endpoints int) error {
	if services > l.seeded {
		if err := l.control.API.Kill(); err != nil {
			return err
		}
		var some []*corev1.Service
		var slices []*discoveryv1.EndpointSlice
		for i := l.seeded; i < services; i++ {
			s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: seededName(i)}}
			s.Spec.ClusterIP = seededAddr(i).Addr().String()
			s.Spec.Ports = []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(testbed.TargetPort)}}
			if l.dressed {
				dressService(s)
			}
			some, slices = append(some, s), append(slices, l.slice(s.Name, pooled(i, 0, endpoints)...))
		}
		if err := l.control.Seed(ctx, some, slices); err != nil {
			return err
		}
		l.seeded = services
	}
	return l.control.StartAPI(ctx)
}

// slices is the API of a namespace.
func (l *lab) slices(namespace string) discoveryclient.EndpointSliceInterface {
	return l.control.Client().DiscoveryV1().EndpointSlices(namespace)
}

func seededName(i int) string { return fmt.Sprintf("many-%05d", i) }

// seededAddr is where Service i is reached.
func seededAddr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, byte(16 + i/200), byte(i%200 + 1)}), 80)
}

// pooled are n addresses for Service i; others for each turn.
func pooled(i, turn, n int) []string {
	var out []string
	for j := range n {
		out = append(out, poolAddr(i*7+(j+turn)*191))
	}
	return out
}

// slice is the EndpointSlice of a Service with one port. All is on the other node.
func (l *lab) slice(service string, addrs ...string) *discoveryv1.EndpointSlice {
	port, no, tcp, ready := int32(testbed.TargetPort), "", corev1.ProtocolTCP, true
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: service, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &no, Port: &port, Protocol: &tcp}},
		Endpoints: []discoveryv1.Endpoint{},
	}
	for _, addr := range addrs {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{addr}, NodeName: &l.Node2.Name, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		})
	}
	if l.dressed {
		dressSlice(s)
	}
	return s
}

// knock tries to connect, and hangs up at once.
func knock(from *testbed.Host, to netip.AddrPort, patience time.Duration) outcome {
	var out outcome
	err := from.Do(func() error {
		out = dial(to, patience)
		return nil
	})
	if err != nil {
		return failed
	}
	return out
}
