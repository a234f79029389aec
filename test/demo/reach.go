package main

import (
	"context"
	"fmt"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// outside makes the requests that clients outside may make, with both policies.
func (d *demo) outside(ctx context.Context) error {
	b, web := d.bed, []string{"web/p1", "web/p2"}
	d.page.say("web has externalTrafficPolicy Cluster, the default:")
	err := d.requests(ctx, []request{
		{from: b.Ext, what: "node port", to: webNodePort, want: web, source: b.Node},
		{from: b.Ext, what: "load-balancer IP", to: webBalancer, want: web, source: b.Node},
		{from: b.Ext, what: "external IP", to: webExternal, want: web, source: b.Node},
		{from: b.C1, what: "load-balancer IP", to: webBalancer, want: web, source: b.Node},
		{from: b.Node, what: "node port", to: webNodePort, want: web, source: b.Node},
	}, "all of them work, from outside and from within",
		"the endpoints see the node's address: answers must come back through it")
	if err != nil {
		return err
	}
	d.page.say("edge has externalTrafficPolicy Local, and endpoints on both nodes:")
	edge, all := []string{"edge/p2"}, []string{"edge/p2", "edge/r1"}
	return d.requests(ctx, []request{
		{from: b.Ext, what: "node port", to: edgeNodePort, want: edge, source: b.Ext},
		{from: b.Ext, what: "load-balancer IP", to: edgeBalancer, want: edge, source: b.Ext},
		{from: b.C1, what: "load-balancer IP", to: edgeBalancer, want: all, source: b.C1},
		{from: b.C1, what: "ClusterIP", to: edgeCluster, want: all, source: b.C1},
	}, "clients outside reach the endpoint of this node alone, and keep their address",
		"pods reach both: for them the policy does not count")
}

// dns asks over UDP and TCP.
func (d *demo) dns(ctx context.Context) error {
	b, dns := d.bed, []string{"dns/p1", "dns/r1"}
	err := d.requests(ctx, []request{
		{from: b.C1, network: "udp", what: "UDP", to: dnsCluster, want: dns, source: b.C1},
		{from: b.Node, network: "udp", what: "UDP", to: dnsCluster, want: dns, source: b.Node},
		{from: b.C1, network: "tcp", what: "TCP", to: dnsCluster, want: dns, source: b.C1},
	}, "every new socket may meet another endpoint")
	if err != nil {
		return err
	}
	s, err := b.C1.Dial(ctx, "udp", address(dnsCluster), d.source())
	if err != nil {
		return err
	}
	defer s.Close()
	names := map[string]int{}
	for range 12 {
		names[testbed.Outcome(s.Ask())]++
	}
	return d.page.claim("12 datagrams from one socket all reach the same one", len(names) == 1 && names["dns/p1"]+names["dns/r1"] == 12,
		"12 answers of dns/p1 or of dns/r1", result{outcomes: names}.answered())
}

// affinity asks as several clients, each of which must stick to an endpoint.
func (d *demo) affinity(ctx context.Context) error {
	b, cart := d.bed, []string{"cart/p1", "cart/p2", "cart/r1"}
	var list []request
	for _, from := range []*testbed.Host{b.C1, b.Node, b.Ext} {
		source := b.Node
		if from == b.C1 {
			source = from
		}
		list = append(list, request{from: from, what: "ClusterIP", to: cartCluster, times: 10, want: cart, one: true, source: source})
	}
	return d.requests(ctx, list,
		"each client stays with the endpoint that it met first, for all its connections",
		"the next client may get another one")
}

// dualStack asks over both families.
func (d *demo) dualStack(ctx context.Context) error {
	b, hello := d.bed, []string{"hello/p2", "hello/r1"}
	var list []request
	for _, from := range []*testbed.Host{b.C1, b.Node} {
		for _, to := range []string{hello4, hello6} {
			list = append(list, request{from: from, what: "ClusterIP", to: to, want: hello, source: from})
		}
	}
	return d.requests(ctx, list, "the same endpoints answer over IPv4 and over IPv6")
}

// fast is how long a refusal may take. A client whose first packet was dropped sends the next one
// after a second, so that a refusal before was the answer to the first, on a busy machine too.
const fast = 900 * time.Millisecond

// refused asks for a Service without endpoints.
func (d *demo) refused(ctx context.Context) error {
	rows := [][]string{{"from", "to", "", "what the client gets", "slowest"}}
	var wrong error
	for _, from := range []*testbed.Host{d.bed.C1, d.bed.Node, d.bed.Ext} {
		for _, to := range archive {
			got := result{outcomes: map[string]int{}}
			var slowest time.Duration
			for range 5 {
				began := time.Now()
				got.outcomes[testbed.Outcome(d.once(ctx, from, "tcp", to[1]))]++
				slowest = max(slowest, time.Since(began))
			}
			rows = append(rows, []string{d.title(from), to[0], to[1], got.answered(), brief(slowest)})
			if wrong == nil && (got.outcomes["refused"] != 5 || slowest > fast) {
				wrong = &falsehood{"requests to " + to[1] + " from " + from.Name, fmt.Sprintf("5 refused, each within %s", fast),
					got.answered() + ", the slowest after " + brief(slowest)}
			}
		}
	}
	d.page.table(rows)
	if wrong == nil {
		d.page.ok("no client waits for a timeout: all are refused at once, at each address")
	}
	return wrong
}
