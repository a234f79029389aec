package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// scale adds an endpoint to web while it runs.
func (d *demo) scale(ctx context.Context) error {
	r1 := d.bed.R1
	if err := d.listen(app{"web", 8080, nil}, r1); err != nil {
		return err
	}
	last, added := d.endpoint(d.bed.P2, ready), d.endpoint(r1, ready)
	d.page.say("A third pod of web runs on node2. Its endpoint comes into %s:", webFile)
	d.page.quote(prefixed("+ ", lines(added)))
	began := time.Now()
	if err := d.edit(webFile, last, last+added); err != nil {
		return err
	}
	asked := 0
	for got := ""; got != "web/r1"; asked++ {
		if time.Since(began) > patience {
			return &falsehood{"the new endpoint answers", "within " + patience.String(), "not yet; the last answer was " + got}
		}
		got = testbed.Outcome(d.once(ctx, d.bed.C1, "tcp", webCluster))
	}
	d.page.ok("saved; %s later it answered, at request number %d since", brief(time.Since(began)), asked)
	all := []string{"web/p1", "web/p2", "web/r1"}
	// The frontends change one after the other, in one round: wait for its end.
	if err := d.awaitReal(ctx, fmt.Sprintf("*:%d (IPv4)", webPort), r1, func(s *realServer) bool { return s != nil }); err != nil {
		return err
	}
	return d.requests(ctx, []request{
		{from: d.bed.C1, what: "ClusterIP", to: webCluster, want: all, source: d.bed.C1},
		{from: d.bed.Ext, what: "node port", to: webNodePort, want: all, source: d.bed.Node},
	}, "three endpoints share the requests")
}

// awaitReal waits until the endpoint of web on h is as it is to be.
func (d *demo) awaitReal(ctx context.Context, frontend string, h *testbed.Host, good func(*realServer) bool) error {
	endpoint := fmt.Sprintf("%s:8080", h.IPv4)
	return testbed.Await(ctx, 2*patience, func() error {
		s, err := d.real(ctx, frontend, endpoint)
		if err == nil && !good(s) {
			err = fmt.Errorf("real server %s behind %s is still there as %+v (nil: not there)", endpoint, frontend, s)
		}
		return err
	})
}

// drain deletes a pod as a cluster does: it is told to end, finishes its requests, and
// is gone.
func (d *demo) drain(ctx context.Context) error {
	c1, p2 := d.bed.C1, d.bed.P2
	held, err := d.hold(ctx, c1, webCluster, "web/p2")
	if err != nil {
		return err
	}
	defer held.Close()
	d.page.say("c1 has a connection to %s, and p2 answers it. Now p2 is told to end:", webCluster)
	d.page.quote([]string{"  - addresses: [\"" + p2.IPv4.String() + "\"]", "-   conditions: " + ready, "+   conditions: " + terminating})
	before, after := d.endpoint(p2, ready), d.endpoint(p2, terminating)
	if err := d.edit(webFile, before, after); err != nil {
		return err
	}
	if err := d.awaitReal(ctx, webCluster, p2, func(s *realServer) bool { return s == nil }); err != nil {
		return &falsehood{"the endpoint takes no new connection", "no real server for p2", err.Error()}
	}
	shown, err := d.frontend(ctx, webCluster+"/tcp")
	if err != nil {
		return err
	}
	d.page.command("kube-ipvs state", shown)
	d.page.ok("p2 is no real server any more: IPVS sends it no new connection")
	if err := d.goesOn(held, "the connection to p2 goes on: the kernel's conntrack carries it"); err != nil {
		return err
	}
	rest := []string{"web/p1", "web/r1"}
	err = d.requests(ctx, []request{
		{from: c1, what: "ClusterIP", to: webCluster, want: rest, source: c1},
		{from: d.bed.Ext, what: "load-balancer IP", to: webBalancer, want: rest, source: d.bed.Node},
	}, "new connections go to the others")
	if err != nil {
		return err
	}
	return d.gone(ctx, held, after)
}

// gone ends the pod p2 with its open connections.
func (d *demo) gone(ctx context.Context, held *testbed.Session, endpoint string) error {
	d.page.say("Its endpoint is taken out of the file, and p2 finishes what it has begun:")
	seen := func() int { return strings.Count(d.daemon().Log(), " msg=round ") }
	before := seen()
	if err := d.edit(webFile, endpoint, ""); err != nil {
		return err
	}
	err := testbed.Await(ctx, patience, func() error {
		if seen() == before {
			return fmt.Errorf("kube-ipvs has not read %s again", webFile)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := d.goesOn(held, "and still the old connection goes on, until one of its two ends closes it"); err != nil {
		return err
	}
	held.Close()
	d.pods["web/p2"]()
	return nil
}

// goesOn claims that an open connection still works.
func (d *demo) goesOn(s *testbed.Session, claim string) error {
	got := testbed.Outcome(s.Ask())
	return d.page.claim(claim, got == s.First.Name, "an answer of "+s.First.Name, got)
}

// restart stops and starts kube-ipvs under a connection.
func (d *demo) restart(ctx context.Context) error {
	c1, web := d.bed.C1, []string{"web/p1", "web/r1"}
	held, err := d.hold(ctx, c1, webCluster, "web/r1")
	if err != nil {
		return err
	}
	defer held.Reset()
	before, err := d.takeInventory(ctx)
	if err != nil {
		return err
	}
	d.page.say("c1 has a connection to web again; r1 answers it. kube-ipvs is stopped:")
	if err := d.daemon().Stop(); err != nil {
		return err
	}
	err = d.requests(ctx, []request{{from: c1, what: "ClusterIP", to: webCluster, want: web, source: c1}},
		"without kube-ipvs everything works on, only changes wait")
	if err != nil {
		return err
	}
	d.page.say("It starts again over what it finds (from here on with --audit-period %s):", audits)
	first, err := d.launch(ctx, "--audit-period", audits.String(), "--verbose")
	if err != nil {
		return err
	}
	d.page.quote([]string{"msg=round " + strings.Join(first.pick("round", "took", "full", "writes", "failed", "drift", "objects"), " ")})
	after, err := d.takeInventory(ctx)
	if err != nil {
		return err
	}
	silent := first.get("writes") == "0" && first.get("full") == "true"
	if err := d.page.claim("it read all and wrote nothing", silent, "full=true writes=0", string(first)); err != nil {
		return err
	}
	diff := differences(before, after)
	if err := d.page.claim("the node is what it was before", len(diff) == 0, "no change", strings.Join(diff, "\n")); err != nil {
		return err
	}
	return d.goesOn(held, "the connection has survived")
}
