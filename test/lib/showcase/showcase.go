// Package showcase is a node to look at: the real loop over a kernel in
// memory, with as many Services as wished, and with everything that can be
// wrong with some of them. The status page is tested on it.
package showcase

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs/proxier"
	"kube-ipvs/proxier/cluster"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/health"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
	"kube-ipvs/proxier/status"
)

// NodeName is the name of the node.
const NodeName = "node-1"

// Node is a running loop and its objects.
type Node struct {
	Kernel  *Kernel
	Proxier *proxier.Proxier
	Health  *health.Health
	Page    *status.Page
	Config  status.Config
	rounds  chan *report.Round
	end     func()

	loop      proxier.Config
	endpoints *endpoints
}

// New starts a node without Services.
func New(mode desired.Mode) *Node {
	return Start(desired.Config{Mode: mode, Scheduler: "rr", IPv6: true, Images: desired.DefaultImages, MasqueradeBit: 14, NodeName: NodeName})
}

// Start is New with another configuration.
func Start(d desired.Config) *Node {
	n := &Node{Kernel: newKernel(), rounds: make(chan *report.Round, 1000), endpoints: newEndpoints()}
	board := &status.Board{}
	c := proxier.Config{
		Config:      cluster.Config{Desired: d},
		AuditPeriod: 5 * time.Minute, DrainTimeout: time.Hour, Dial: n.endpoints.dial, Log: slog.New(slog.DiscardHandler),
	}
	c.Observe = func(r *report.Round) {
		n.Health.Observe(r)
		board.Observe(r)
		select {
		case n.rounds <- r:
		default:
		}
	}
	n.loop = c
	n.Proxier = proxier.New(n.Kernel, c)
	n.Health = health.New(health.Config{Families: state.Families(false), SyncPeriod: time.Minute, Backlog: n.Proxier.Backlog, Stuck: n.Proxier.Stuck})
	n.Config = status.Config{
		Node: d.NodeName, Version: "v0.0.0-showcase", Desired: c.Desired, Board: board, Kernel: n.Kernel, Last: n.Proxier.Last, Backlog: n.Proxier.Backlog,
		Unhealthy: n.Health.Unhealthy, Ready: n.Health.Ready, Log: c.Log,
	}
	n.Page = status.NewPage(n.Config)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); n.Proxier.Run(ctx) }()
	n.end = func() { cancel(); <-done }
	return n
}

// Close stops the loop.
func (n *Node) Close() { n.end() }

// Tell hands the loop events and waits until it has done with them.
func (n *Node) Tell(events ...source.Event) {
	n.Proxier.Events(events)
	n.Proxier.Synced()
	n.Await(func(*report.Round) bool { return n.Proxier.Backlog() == report.Backlog{} })
}

// Await waits for a round from now on, or the last one, that ok accepts. It
// panics after a minute.
func (n *Node) Await(ok func(*report.Round) bool) {
	limit := time.After(time.Minute)
	if r := n.Proxier.Last(); r != nil && ok(r) {
		return
	}
	for {
		select {
		case r := <-n.rounds:
			if ok(r) {
				return
			}
		case <-limit:
			panic("no such round within a minute")
		}
	}
}

// Service returns a Service of one port and its slice.
func Service(namespace, name, ip string, port int32, endpoints ...string) []source.Event {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip},
			Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: port}}},
	}
	return []source.Event{{Service: svc}, slice(svc, endpoints)}
}

func slice(svc *corev1.Service, endpoints []string) source.Event {
	proto, port, name := corev1.ProtocolTCP, int32(8080), "http"
	es := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: svc.Name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Protocol: &proto, Port: &port}},
	}
	elsewhere := "node-2"
	for _, e := range endpoints {
		es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{Addresses: []string{e}, NodeName: &elsewhere})
	}
	return source.Event{Slice: es}
}

// Many returns n Services with endpoints each, in namespaces of 100: number i
// is nsN/svc-NNNNN with ClusterIP 10.96.x.y, port 80. Every tenth has a node port.
func Many(n, endpoints int) []source.Event {
	var out []source.Event
	for i := range n {
		var at []string
		for j := range endpoints {
			at = append(at, fmt.Sprintf("10.%d.%d.%d", 128+j, i>>8&255, i&255))
		}
		events := Service(fmt.Sprintf("ns%d", i/100), fmt.Sprintf("svc-%05d", i), fmt.Sprintf("10.%d.%d.%d", 96+i>>16, i>>8&255, i&255), 80, at...)
		if i%10 == 9 && i/10 < 2768 {
			events[0].Service.Spec.Type = corev1.ServiceTypeNodePort
			events[0].Service.Spec.Ports[0].NodePort = int32(30000 + i/10)
		}
		out = append(out, events...)
	}
	return out
}

// Troubles is Faults, on a node that also has a Service and a file named Hostile.
func (n *Node) Troubles() {
	n.Kernel.Hand(state.EntryID(state.SetExternal, state.TCP, netip.MustParseAddrPort("203.0.113.66:666")), "")
	n.Kernel.Hand(state.EntryID(state.SetAll, state.TCP, netip.MustParseAddrPort("203.0.113.66:666")), Hostile)
	n.Proxier.Problems([]model.Problem{{Origin: "file " + Hostile, Object: "Service shop/" + Hostile, Field: "spec.ports[0].port", Message: "\"http\" is not a number; the object is left out"}})
	n.Faults()
}

// Faults gives the node one of everything that the page has a word for: drains
// (in direct mode), refusals, rivals, failing writes, drift, policies.
func (n *Node) Faults() {
	shop := Service("shop", "cart", "10.90.0.10", 443, "10.244.1.5", "10.244.2.7", "10.244.3.9")
	shop[0].Service.Spec.Type = corev1.ServiceTypeLoadBalancer
	shop[0].Service.Spec.Ports[0].NodePort = 32443
	shop[0].Service.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	shop[0].Service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.10"}}
	rival := Service("shop", "copy", "10.90.0.11", 443, "10.244.1.6")
	rival[0].Service.Spec.ExternalIPs = []string{"203.0.113.10"}
	rival[0].Service.CreationTimestamp = metav1.NewTime(time.Unix(1e9, 0))
	odd := Service("shop", "odd", "10.90.0.12", 80, "10.244.1.8")
	odd[0].Service.Annotations = map[string]string{"kube-ipvs/scheduler": "fastest"}
	taken := Service("shop", "taken", "10.90.0.14", 80, "10.244.1.9")
	n.Kernel.Refuse(state.VirtualServerID(state.TCP, netip.MustParseAddrPort("10.90.0.14:80")), errors.New("a virtual server of others stands there"))
	n.Kernel.Refuse(state.VirtualServerID(state.TCP, netip.MustParseAddrPort("242.90.0.14:80")), errors.New("a virtual server of others stands there"))
	var all []source.Event
	for _, s := range [][]source.Event{shop, rival, odd, taken, Service("shop", "empty", "10.90.0.13", 80)} {
		all = append(all, s...)
	}
	n.Tell(all...)
	n.Tell(slice(shop[0].Service, []string{"10.244.1.5", "10.244.2.7"}))
	n.Kernel.Tamper(func(s *state.State) {
		s.Delete(state.EntryID(state.SetAll, state.TCP, netip.MustParseAddrPort("10.90.0.13:80")))
	})
	n.Proxier.Audit()
	n.Await(func(r *report.Round) bool { return len(r.Drift) > 0 })
	n.Await(func(r *report.Round) bool { // it is told after some retries
		for _, p := range r.Problems {
			if p.Object == "Service shop/taken" {
				return true
			}
		}
		return false
	})
}

// Hostile is a name that would do harm if it were not escaped.
const Hostile = `"><script>document.title='broken'</script><img src=x onerror=document.title='broken'>`
