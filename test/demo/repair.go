package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// audits is the time between audits: long enough to see the damage before it
// is repaired, short enough to wait for.
const audits = 3 * time.Second

// sabotage deletes objects of kube-ipvs and waits for the audit.
func (d *demo) sabotage(ctx context.Context) error {
	// Right after an audit there is time to look.
	if err := d.awaitAudit(ctx); err != nil {
		return err
	}
	began := time.Now()
	const damage = "ipvsadm -D -t " + webImage + "\nipset flush KIPVS-NODEPORT"
	if _, err := d.bed.Node.Shell(ctx, damage); err != nil {
		return err
	}
	for _, line := range lines(damage) {
		d.page.command(line, nil)
	}
	for _, a := range []struct {
		from     *testbed.Host
		what, to string
	}{{d.bed.C1, "c1's requests to the ClusterIP", webCluster}, {d.bed.Ext, "those from outside to the node port", webNodePort}} {
		got := testbed.Outcome(d.once(ctx, a.from, "tcp", a.to))
		if err := d.page.claim(a.what+" are refused now", got == "refused", "refused", got); err != nil {
			return err
		}
	}
	err := testbed.Await(ctx, audits+patience, func() error {
		if len(drifts(d.daemon().Log())) == 0 {
			return errors.New("the log says nothing of drift")
		}
		_, err := d.once(ctx, d.bed.Ext, "tcp", webNodePort)
		return err
	})
	if err != nil {
		return &falsehood{"the audit repairs", "drift in the log, and answers", err.Error()}
	}
	healed := time.Since(began)
	d.page.say("The next audit finds out, and the log says (shortened):")
	found := drifts(d.daemon().Log())
	if len(found) > 6 {
		found = append(found[:6], fmt.Sprintf("... %d more", len(found)-6))
	}
	d.page.quote(found)
	d.page.ok("%s after the damage all is repaired", brief(healed))
	web := []string{"web/p1", "web/r1"}
	return d.requests(ctx, []request{
		{from: d.bed.C1, what: "ClusterIP", to: webCluster, want: web, source: d.bed.C1},
		{from: d.bed.Ext, what: "node port", to: webNodePort, want: web, source: d.bed.Node},
	}, "and works as before")
}

// awaitAudit waits for the end of the next one.
func (d *demo) awaitAudit(ctx context.Context) error {
	full := func() (n int) {
		for _, r := range rounds(d.daemon().Log()) {
			if r.get("full") == "true" {
				n++
			}
		}
		return n
	}
	have := full()
	return testbed.Await(ctx, audits+patience, func() error {
		if full() == have {
			return errors.New("no audit")
		}
		return nil
	})
}

var drift = regexp.MustCompile(`level=(\w+) msg="drift: another program changed an object of kube-ipvs" what="?(.*?)"?\n`)

// drifts returns the objects in the log that other programs have changed.
func drifts(log string) []string {
	var out []string
	for _, m := range drift.FindAllStringSubmatch(log, -1) {
		out = append(out, fmt.Sprintf("%s drift: %s", m[1], strings.ReplaceAll(m[2], `\"`, `"`)))
	}
	return out
}

// show prints the programmed objects, in the words of kube-ipvs and in those of
// ipvsadm.
func (d *demo) show(ctx context.Context) error {
	all, err := d.stateText(ctx)
	if err != nil {
		return err
	}
	d.page.command("kube-ipvs state", all)
	text := strings.Join(all, "\n")
	for _, name := range []string{"web:http", "dns:dns", "dns:dns-tcp", "cart:http", "hello:http", "edge:http", "archive:http", "shop:http"} {
		if !strings.Contains(text, "default/"+name+"\n") {
			return &falsehood{"the state has every port of every Service", "default/" + name, "it is missing"}
		}
	}
	d.page.ok("every port of every Service is there")
	d.page.say("The same of web's ClusterIP and node port, as ipvsadm shows it: both reach IPVS under an address")
	d.page.say("that no packet has outside this node. flag-3 says: this is ours.")
	list := fmt.Sprintf("ipvsadm -Ln -t %s; ipvsadm -Ln -t 252.0.0.1:%d | tail -n +3", webImage, webPort)
	out, err := d.bed.Node.Shell(ctx, list)
	if err != nil {
		return err
	}
	d.page.quote(lines(out))
	for _, h := range []*testbed.Host{d.bed.P1, d.bed.R1} {
		if n := strings.Count(out, fmt.Sprintf("-> %s:8080 ", h.IPv4)); n != 2 {
			return &falsehood{"ipvsadm shows " + h.Name, "2 times", fmt.Sprintf("%d times", n)}
		}
	}
	d.page.ok("p1 and r1 are its real servers")
	return nil
}

// cleanup removes all and compares with the state before.
func (d *demo) cleanup(ctx context.Context) error {
	if err := d.daemon().Stop(); err != nil {
		return err
	}
	out, code, err := d.kubeIPVS(ctx, "cleanup")
	if err != nil {
		return err
	}
	d.page.say("kube-ipvs is stopped.")
	d.page.command("kube-ipvs cleanup", lines(out))
	after, err := d.takeInventory(ctx)
	if err != nil {
		return err
	}
	if code != 0 {
		return &falsehood{"cleanup succeeds", "exit code 0", fmt.Sprintf("exit code %d", code)}
	}
	diff := differences(d.before, after)
	return d.page.claim("chains, sets, links, addresses, routes and virtual servers are as at the beginning", len(diff) == 0,
		"no difference", strings.Join(diff, "\n"))
}
