package main

import (
	"fmt"

	"kube-ipvs/test/lib/testbed"
)

// policyScenarios are both traffic policies, with endpoints here and there.
func policyScenarios() []Scenario {
	var out []Scenario
	for _, external := range []string{"Cluster", "Local"} {
		for _, internal := range []string{"Cluster", "Local"} {
			for _, e := range endpointKinds {
				v := testbed.Service{Name: "web", Type: "LoadBalancer", External: true, Spec: []string{"externalTrafficPolicy: " + external, "internalTrafficPolicy: " + internal}}
				out = append(out, Scenario{
					Name:  fmt.Sprintf("external %s, internal %s, %s", external, internal, e.name),
					Still: &Still{Services: []Backed{{v, e.backends}}, Asks: func(s *Scene) []Ask { return s.perPolicy(s.Service("web"), internal == "Local") }},
				})
			}
		}
	}
	return chapter("Traffic policies", out...)
}

var endpointKinds = []struct {
	name     string
	backends func(*World) []testbed.Backend
}{
	{"endpoints on both nodes", onBoth},
	{"endpoint on the other node only", onOther},
	{"endpoint on this node only", onThis},
	{"no endpoints", nil},
	{"all endpoints terminating but serving", func(w *World) []testbed.Backend {
		return []testbed.Backend{{Host: w.P1, State: "terminating"}, {Host: w.R1, State: "terminating"}}
	}},
}

// perPolicy is a selection of allAsks, most of it of the frontends that the
// policy is about: external IPs are treated as those of a load balancer, UDP as
// TCP, and IPv6 as IPv4, of which those with fewer requests take turns.
func (s *Scene) perPolicy(v testbed.Service, internal bool) []Ask {
	var out []Ask
	one := func(from *testbed.Host, network string, f testbed.Frontend, four bool) {
		out = append(out, Ask{From: from, Network: network, To: f.Addr(four), Target: f.Name})
	}
	if internal {
		for _, from := range []*testbed.Host{s.C1, s.Node, s.Ext} {
			out = append(out, everyWay(from, v.ClusterIP(), "tcp", "udp")...)
		}
		one(s.RC, "tcp", v.ClusterIP(), true)
		one(s.Node2, "tcp", v.ClusterIP(), false)
		one(s.Ext, "tcp", v.LoadBalancer(), true)
		one(s.C1, "tcp", v.LoadBalancer(), false)
		one(s.Ext, "tcp", v.NodePort(), false)
		return out
	}
	for _, from := range []*testbed.Host{s.C1, s.Node, s.Ext} {
		out = append(out, everyWay(from, v.LoadBalancer(), "tcp")...)
		out = append(out, everyWay(from, v.NodePort(), "tcp")...)
	}
	for i, from := range s.everyClient() {
		one(from, "udp", v.LoadBalancer(), i%2 == 0)
		one(from, "tcp", v.ExternalIP(), i%2 == 1)
	}
	for _, from := range []*testbed.Host{s.RC, s.Node2, s.Far} {
		one(from, "tcp", v.LoadBalancer(), from == s.RC)
		one(from, "tcp", v.NodePort(), from != s.RC)
	}
	one(s.Ext, "udp", v.NodePort(), true)
	one(s.C1, "tcp", v.ClusterIP(), true)
	one(s.Node, "tcp", v.ClusterIP(), false)
	other := on(s.Node2, "node port of node2", v.NodePort().V4.Port())
	one(s.C1, "tcp", other, true)
	one(s.Ext, "tcp", other, true)
	return out
}
