package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// inputScenarios are rules of others in filter INPUT: of the node's own firewall, where
// users of mode ipvs may rely on them, and of network policy controllers.
func inputScenarios() []Scenario {
	return chapter("Policies in INPUT",
		input("INPUT ends with REJECT", func(testbed.Service) (string, string) {
			return rules(nil, append(lettingIn(), "filter INPUT -j REJECT")...)
		}, (*Scene).fromEverywhere),
		Scenario{Name: "INPUT drops by default", Play: healthPort},
		input("ufw", func(v testbed.Service) (string, string) {
			chains := []string{"filter ufw-before-input", "filter ufw-user-input", "filter ufw-reject-input"}
			in := []string{"filter INPUT -j ufw-before-input", "filter INPUT -j ufw-reject-input", "filter ufw-reject-input -j REJECT",
				fmt.Sprintf("filter ufw-user-input -s {ext} -p tcp --dport %d -j DROP", v.NodePort().V4.Port())}
			for _, r := range lettingIn() {
				in = append(in, strings.Replace(r, " INPUT ", " ufw-before-input ", 1))
			}
			return rules(chains, append(in, "filter ufw-before-input -j ufw-user-input")...)
		}, (*Scene).fromEverywhere),
		input("a node port closed for one host", func(v testbed.Service) (string, string) {
			return rules(nil, fmt.Sprintf("filter INPUT -s {ext} -p tcp --dport %d -j DROP", v.NodePort().V4.Port()))
		}, (*Scene).fromEverywhere),
		input("two hosts shut out", func(testbed.Service) (string, string) {
			return rules(nil, "filter INPUT -s {ext} -p tcp -j DROP", "filter INPUT -s {c1} -p tcp -j DROP")
		}, (*Scene).fromEverywhere),
		input("the Service range closed for pods", func(testbed.Service) (string, string) {
			return rules(nil, "filter INPUT -i v+ -d {services} -j DROP")
		}, (*Scene).fromEverywhere),
		input("egress policy as kube-router has it", kubeRouter, (*Scene).fromPod),
		input("egress policy as Calico has it", calicoPolicy, (*Scene).fromPod),
	)
}

// input plays rules on the node, beside one Service whose endpoint is p1 and one whose
// endpoint is p2.
func input(name string, firewall func(v testbed.Service) (script, undo string), asks func(s *Scene, allowed, other testbed.Service) []Ask) Scenario {
	return Scenario{Name: name, Play: func(ctx context.Context, s *Scene) error {
		allowed, other := s.Number(testbed.Service{Name: "web", Type: "LoadBalancer"}), s.Number(testbed.Service{Name: "other", Type: "NodePort"})
		for v, h := range map[*testbed.Service]*testbed.Host{&allowed: s.P1, &other: s.P2} {
			if err := s.Apply(ctx, *v, testbed.Backends(h)...); err != nil {
				return err
			}
		}
		if err := s.Programmed(ctx); err != nil {
			return err
		}
		script, undo := firewall(allowed)
		if err := s.Shell(ctx, s.Node, script, undo); err != nil {
			return err
		}
		if err := s.inPlace(ctx); err != nil {
			return err
		}
		s.Ask(ctx, "", asks(s, allowed, other)...)
		return nil
	}}
}

// inPlace waits until kube-ipvs has put its jumps where they are to stand, which takes it
// as long as others take for a sync.
func (s *Scene) inPlace(ctx context.Context) error {
	if !s.Proxy.Ours() {
		return nil
	}
	return testbed.Await(ctx, 20*time.Second, func() error {
		for _, tool := range []string{"iptables", "ip6tables"} {
			out, err := s.Node.Shell(ctx, tool+" -S INPUT | grep -v 'cali-\\|^-P' | head -n1")
			if err != nil || !strings.Contains(out, "KIPVS") {
				return errors.Join(fmt.Errorf("first in INPUT is %s", out), err)
			}
		}
		return nil
	})
}

// lettingIn are the packets that every firewall accepts.
func lettingIn() []string {
	return []string{"filter INPUT -i lo -j ACCEPT", "filter INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "filter INPUT -p {icmp} -j ACCEPT", "filter INPUT -p tcp --dport 22 -j ACCEPT"}
}

func (s *Scene) fromEverywhere(v, _ testbed.Service) []Ask {
	out := crossing([]*testbed.Host{s.C1, s.Node}, []testbed.Frontend{v.ClusterIP()}, "tcp")
	return append(out, crossing([]*testbed.Host{s.Ext, s.Node2}, []testbed.Frontend{v.NodePort(), v.LoadBalancer()}, "tcp")...)
}

// fromPod asks from the pod with a policy, c1, which may reach p1 only, and from another.
func (s *Scene) fromPod(allowed, other testbed.Service) []Ask {
	out := crossing([]*testbed.Host{s.C1}, []testbed.Frontend{allowed.ClusterIP(), allowed.NodePort(), allowed.LoadBalancer()}, "tcp")
	forbidden := []testbed.Frontend{other.ClusterIP(), other.NodePort()}
	for i := range forbidden {
		forbidden[i].Name += " of a forbidden pod"
	}
	return append(out, append(crossing([]*testbed.Host{s.C1}, forbidden, "tcp"), crossing([]*testbed.Host{s.P2}, []testbed.Frontend{allowed.ClusterIP()}, "tcp")...)...)
}

// healthPort has a node whose INPUT drops packets that no rule accepts, and a load
// balancer that asks for the node's health.
func healthPort(ctx context.Context, s *Scene) error {
	const port = 31998
	v := s.Number(testbed.Service{Name: "web", Type: "LoadBalancer", Spec: []string{"externalTrafficPolicy: Local", fmt.Sprintf("healthCheckNodePort: %d", port)}})
	if err := s.Apply(ctx, v, testbed.Backends(s.P1)...); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	script, undo := dropPolicy(s)
	if err := s.Shell(ctx, s.Node, script, undo); err != nil {
		return err
	}
	s.Ask(ctx, "", s.fromEverywhere(v, v)...)
	for _, at := range []string{s.Node.IPv4.String(), "[" + s.Node.IPv6.String() + "]"} {
		out, err := s.Ext.Shell(ctx, fmt.Sprintf("curl -g -s -m 2 -o /dev/null -w '%%{http_code}' http://%s:%d/ || true", at, port))
		if err != nil {
			return err
		}
		s.Record("ext → health-check node port, HTTP "+map[bool]string{true: "IPv6", false: "IPv4"}[at[0] == '['], map[string]string{"000": "lost"}[out]+strings.TrimSuffix(out, "000"))
	}
	return nil
}

// kubeRouter has kube-router's chains for a pod, c1, with a policy that lets it reach
// one other pod. They come first, and do not judge packets to the Service range or a
// node port in INPUT. They judge them in OUTPUT, by which IPVS sends.
func kubeRouter(testbed.Service) (script, undo string) {
	script, undo = rules([]string{"filter KUBE-ROUTER-INPUT", "filter KUBE-ROUTER-FORWARD", "filter KUBE-ROUTER-OUTPUT", "filter KUBE-POD-FW-C1"},
		"filter KUBE-ROUTER-INPUT -d {services} -j RETURN",
		"filter KUBE-ROUTER-INPUT -p tcp -m addrtype --dst-type LOCAL -m multiport --dports 30000:32767 -j RETURN",
		"filter KUBE-ROUTER-INPUT -s {c1} -j KUBE-POD-FW-C1", "filter KUBE-ROUTER-FORWARD -s {c1} -j KUBE-POD-FW-C1", "filter KUBE-ROUTER-OUTPUT -s {c1} -j KUBE-POD-FW-C1",
		"filter KUBE-POD-FW-C1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "filter KUBE-POD-FW-C1 -m conntrack --ctstate INVALID -j DROP", "filter KUBE-POD-FW-C1 -p {icmp} -j ACCEPT",
		"filter KUBE-POD-FW-C1 -p tcp --dport 8080 -d {p1} -j MARK --set-xmark 0x10000/0x10000",
		"filter KUBE-POD-FW-C1 -m mark ! --mark 0x10000/0x10000 -j REJECT",
		"filter KUBE-POD-FW-C1 -j MARK --set-xmark 0x0/0x10000", "filter KUBE-POD-FW-C1 -j MARK --set-xmark 0x20000/0x20000")
	for _, tool := range []string{"iptables -w", "ip6tables -w"} {
		for _, chain := range []string{"INPUT", "FORWARD", "OUTPUT"} {
			script += fmt.Sprintf("%s -I %s -j KUBE-ROUTER-%s\n%s -A KUBE-ROUTER-%s -m mark --mark 0x20000/0x20000 -j ACCEPT\n", tool, chain, chain, tool, chain)
			undo = fmt.Sprintf("%s -D %s -j KUBE-ROUTER-%s\n%s -D KUBE-ROUTER-%s -m mark --mark 0x20000/0x20000 -j ACCEPT\n", tool, chain, chain, tool, chain) + undo
		}
	}
	return script, undo
}

// calicoPolicy has felix' chains for the same pod on a node with kube-ipvs0: in INPUT
// a packet that is not for the node itself gets the mark of the sending pod, and in
// OUTPUT that pod's policy.
func calicoPolicy(testbed.Service) (script, undo string) {
	const of, any = "0xab00000/0xfff00000", "0x0/0xfff00000"
	script, undo = rules([]string{"filter cali-INPUT", "filter cali-FORWARD", "filter cali-OUTPUT", "filter cali-forward-check", "filter cali-set-endpoint-mark", "filter cali-wl-to-host", "filter cali-forward-endpoint-mark", "filter cali-fw-c1"},
		"filter cali-INPUT -j cali-forward-check", "filter cali-INPUT -m mark ! --mark "+any+" -j RETURN", "filter cali-INPUT -i v+ -g cali-wl-to-host",
		"filter cali-forward-check -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
		"filter cali-forward-check -p tcp -m multiport --dports 30000:32767 -m set --match-set {this-host} dst -g cali-set-endpoint-mark",
		"filter cali-forward-check -m set ! --match-set {this-host} dst -g cali-set-endpoint-mark",
		"filter cali-set-endpoint-mark -s {c1} -j MARK --set-xmark "+of, "filter cali-set-endpoint-mark -m mark --mark "+any+" -i v+ -j MARK --set-xmark 0x100000/0xfff00000",
		"filter cali-wl-to-host -s {c1} -j cali-fw-c1",
		"filter cali-FORWARD -s {c1} -j cali-fw-c1",
		"filter cali-OUTPUT -m mark ! --mark "+any+" -g cali-forward-endpoint-mark",
		"filter cali-forward-endpoint-mark -m mark --mark "+of+" -j cali-fw-c1", "filter cali-forward-endpoint-mark -j MARK --set-xmark "+any,
		"filter cali-fw-c1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "filter cali-fw-c1 -p {icmp} -j ACCEPT", "filter cali-fw-c1 -p tcp --dport 8080 -d {p1} -j RETURN", "filter cali-fw-c1 -j DROP")
	for _, tool := range []string{"iptables -w", "ip6tables -w"} {
		for _, chain := range []string{"INPUT", "FORWARD", "OUTPUT"} {
			script += fmt.Sprintf("%s -I %s -j cali-%s\n", tool, chain, chain)
			undo = fmt.Sprintf("%s -D %s -j cali-%s\n", tool, chain, chain) + undo
		}
	}
	// Not in it are the addresses of kube-ipvs0: felix overlooks that device.
	host := "ipset create cali40this-host hash:ip\nipset add cali40this-host 192.168.50.1\nipset create cali60this-host hash:ip family inet6\nipset add cali60this-host fd50::1\n"
	return host + script, undo + "ipset destroy cali40this-host\nipset destroy cali60this-host\n"
}
