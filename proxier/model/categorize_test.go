package model

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"kube-ipvs/netutil/ipfamily"
)

func TestChoose(t *testing.T) {
	tests := []struct {
		name                   string
		in                     []string
		cluster, local, onNode string
		none                   bool // nothing anywhere may serve
	}{
		{name: "no endpoints", none: true},
		{name: "sorted", in: []string{"10.0.0.10", "10.0.0.9 node=n1", "10.0.0.1 node=n1"}, cluster: "1 9 10", local: "1 9", onNode: "1 9"},
		{name: "not ready is not used", in: []string{"10.0.0.1 node=n1 notready", "10.0.0.2 node=n2"}, cluster: "2", onNode: "1"},
		{name: "only not ready", in: []string{"10.0.0.1 node=n1 notready"}, onNode: "1", none: true},
		{name: "ready before terminating", in: []string{"10.0.0.1 node=n1", "10.0.0.2 node=n1 notready terminating"}, cluster: "1", local: "1", onNode: "1 2"},
		{name: "only serving and terminating", in: []string{"10.0.0.1 node=n1 notready terminating", "10.0.0.2 node=n2 notready terminating"}, cluster: "1 2", local: "1", onNode: "1"},
		{name: "local terminating while remote ready", in: []string{"10.0.0.1 node=n1 notready terminating", "10.0.0.2 node=n2"}, cluster: "2", local: "1", onNode: "1"},
		{name: "terminating and not serving is never used", in: []string{"10.0.0.1 node=n1 notready notserving terminating"}, onNode: "1", none: true},
		{name: "ready while terminating counts as ready", in: []string{"10.0.0.1 node=n1 terminating", "10.0.0.2"}, cluster: "1 2", local: "1", onNode: "1"},
		{name: "no node name is not local", in: []string{"10.0.0.1"}, cluster: "1"},

		{name: "node hints", in: []string{"10.0.0.1 fornode=n1 zone=za", "10.0.0.2 fornode=n2 zone=za"}, cluster: "1"},
		{name: "several node hints", in: []string{"10.0.0.1 fornode=n2,n1", "10.0.0.2 fornode=n2"}, cluster: "1"},
		{name: "part of a node name is no hint", in: []string{"10.0.0.1 fornode=n11,n12", "10.0.0.2 fornode=n2"}, cluster: "1 2"},
		{name: "one without node hint", in: []string{"10.0.0.1 fornode=n1", "10.0.0.2"}, cluster: "1 2"},
		{name: "node hints for others fall to zone hints", in: []string{"10.0.0.1 fornode=n2 zone=za", "10.0.0.2 fornode=n3 zone=zb"}, cluster: "1"},
		{name: "missing node hint falls to zone hints", in: []string{"10.0.0.1 fornode=n1 zone=zb", "10.0.0.2 zone=za"}, cluster: "2"},
		{name: "zone hints", in: []string{"10.0.0.1 zone=za", "10.0.0.2 zone=zb", "10.0.0.3 zone=zb,za"}, cluster: "1 3"},
		{name: "one without zone hint", in: []string{"10.0.0.1 zone=za", "10.0.0.2"}, cluster: "1 2"},
		{name: "zone hints for others", in: []string{"10.0.0.1 zone=zb", "10.0.0.2 zone=zc"}, cluster: "1 2"},
		{name: "hints of unready do not count", in: []string{"10.0.0.1 zone=za", "10.0.0.2 zone=zb", "10.0.0.3 notready"}, cluster: "1"},
		{name: "hints only on unready do not filter", in: []string{"10.0.0.1 zone=zb", "10.0.0.2 zone=za notready"}, cluster: "1"},
		{name: "fallback ignores hints", in: []string{"10.0.0.1 zone=za notready terminating", "10.0.0.2 zone=zb notready terminating"}, cluster: "1 2"},
		{name: "hints do not touch local", in: []string{"10.0.0.1 zone=zb node=n1", "10.0.0.2 zone=za node=n2"}, cluster: "2", local: "1", onNode: "1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := mustView(t, modelOf(t, service(), endpoints(tt.in...)), web).Endpoints[ipfamily.IPv4][0]
			if s := short(got.Cluster); s != tt.cluster {
				t.Errorf("cluster %q, want %q", s, tt.cluster)
			}
			if s := short(got.Local); s != tt.local {
				t.Errorf("local %q, want %q", s, tt.local)
			}
			if s := short(got.OnNode); s != tt.onNode {
				t.Errorf("on node %q, want %q", s, tt.onNode)
			}
			if got.Any == tt.none {
				t.Errorf("any is %v", got.Any)
			}
		})
	}
}

// Flows of a UDP port stay with all that answer, whatever hints and policies say.
func TestServing(t *testing.T) {
	for _, tt := range []struct {
		name    string
		in      []string
		serving string
	}{
		{"ready", []string{"10.0.0.2 node=n2", "10.0.0.1 node=n1"}, "1 2"},
		{"hints", []string{"10.0.0.1 zone=za", "10.0.0.2 zone=zb"}, "1 2"},
		{"terminating", []string{"10.0.0.1", "10.0.0.2 notready terminating", "10.0.0.3 notready notserving terminating"}, "1 2"},
		{"not ready", []string{"10.0.0.1", "10.0.0.2 notready notserving"}, "1"},
		{"ready without serving, as publishNotReadyAddresses makes them", []string{"10.0.0.1 notserving"}, "1"},
		{"none", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			udp := service(func(s *corev1.Service) {
				s.Spec.Ports[0].Protocol = "UDP"
				s.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal)
			})
			es := endpoints(tt.in...)
			es.Ports[0].Protocol = new(corev1.ProtocolUDP)
			if s := short(mustView(t, modelOf(t, udp, es), web).Endpoints[ipfamily.IPv4][0].Serving); s != tt.serving {
				t.Errorf("serving %q, want %q", s, tt.serving)
			}
		})
	}
	if got := mustView(t, modelOf(t, service(), endpoints("10.0.0.1")), web).Endpoints[ipfamily.IPv4][0].Serving; got != nil {
		t.Errorf("of a TCP port: %v", got)
	}
}

func TestDuplicateEndpoints(t *testing.T) {
	for _, tt := range []struct{ name, one, other, cluster, local string }{
		{"alike", "10.0.0.1", "10.0.0.1", "1", ""},
		{"terminating first", "10.0.0.1 notready terminating node=n1", "10.0.0.1", "1", ""},
		{"terminating and not serving", "10.0.0.1 notready notserving terminating", "10.0.0.1", "1", ""},
		{"not ready", "10.0.0.1 notready", "10.0.0.1 node=n1", "1", "1"},
		{"terminating never overrides", "10.0.0.1 terminating", "10.0.0.1 notready", "", ""},
		{"serving", "10.0.0.1 notready notserving terminating", "10.0.0.1 notready terminating", "1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, order := range [][2]string{{tt.one, tt.other}, {tt.other, tt.one}} {
				m := modelOf(t, service(), named("web-a", endpoints(order[0])), named("web-b", endpoints(order[1])))
				e := mustView(t, m, web).Endpoints[ipfamily.IPv4][0]
				if short(e.Cluster) != tt.cluster || short(e.Local) != tt.local {
					t.Errorf("%v: cluster %q, local %q", order, short(e.Cluster), short(e.Local))
				}
			}
		})
	}
}

func TestNodeWithoutNameOrZone(t *testing.T) {
	m := New(Node{})
	apply(t, m, service(), endpoints("10.0.0.1 node= zone=", "10.0.0.2 zone="))
	e := mustView(t, m, web).Endpoints[ipfamily.IPv4][0]
	if short(e.Cluster) != "1 2" || e.Local != nil || e.OnNode != nil {
		t.Errorf("got %+v", e)
	}
}

func TestPortsMatchByNameAndProtocol(t *testing.T) {
	svc := service(func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{{Name: "dns", Port: 53, Protocol: "UDP"}, {Name: "dns-tcp", Port: 53}, {Name: "metrics", Port: 9153}}
	})
	es := endpoints("10.0.0.1")
	es.Ports = []discoveryv1.EndpointPort{
		{Name: new("dns-tcp"), Port: new(int32(5301))},
		{Name: new("dns"), Port: new(int32(5300)), Protocol: new(corev1.ProtocolUDP)},
		{Name: new("metrics"), Port: new(int32(9153)), Protocol: new(corev1.ProtocolUDP)},
	}
	// A named target port may resolve to another number in another slice.
	other := named("web-2", endpoints("10.0.0.2"))
	other.Ports = []discoveryv1.EndpointPort{{Name: new("dns"), Port: new(int32(53)), Protocol: new(corev1.ProtocolUDP)}}
	v := mustView(t, modelOf(t, svc, es, other), web)
	for i, want := range []string{"10.0.0.1:5300 10.0.0.2:53", "10.0.0.1:5301", ""} {
		if got := texts(v.Endpoints[ipfamily.IPv4][i].Cluster); got != want {
			t.Errorf("%s: %q, want %q", v.Ports[i].Name, got, want)
		}
	}
}

func TestFamilies(t *testing.T) {
	four, six := endpoints("10.0.0.1"), named("web-6", endpoints("fd00::1 node=n1", "fd00::2 node=n1"))
	v := mustView(t, modelOf(t, service(dual), four, six), web)
	if got := texts(v.Endpoints[ipfamily.IPv4][0].Cluster) + " " + texts(v.Endpoints[ipfamily.IPv6][0].Cluster); got != "10.0.0.1:8080 [fd00::1]:8080 [fd00::2]:8080" {
		t.Errorf("dual: %s", got)
	}
	if v.LocalReady != [2]int{0, 2} {
		t.Errorf("local ready %v", v.LocalReady)
	}
	v = mustView(t, modelOf(t, service(), four, six), web)
	if len(v.Endpoints[ipfamily.IPv6]) != 1 || v.Endpoints[ipfamily.IPv6][0].Cluster != nil || v.Endpoints[ipfamily.IPv6][0].Any || v.LocalReady != [2]int{} {
		t.Errorf("single stack has %+v", v.Endpoints[ipfamily.IPv6])
	}
}

// An endpoint that is terminating and ready, as publishNotReadyAddresses makes
// them, gets connections, and counts.
func TestLocalReadyCountsAddresses(t *testing.T) {
	svc := service(func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "b", Port: 81}}
	})
	es := endpoints("10.0.0.1 node=n1", "10.0.0.2 node=n1", "10.0.0.3 node=n1 notready terminating", "10.0.0.4 node=n1 terminating", "10.0.0.5")
	es.Ports = []discoveryv1.EndpointPort{{Name: new("a"), Port: new(int32(80))}, {Name: new("b"), Port: new(int32(81))}}
	if n := mustView(t, modelOf(t, svc, es), web).LocalReady; n != [2]int{3, 3} {
		t.Errorf("local ready %v, want 3, whichever family asks", n)
	}
}
