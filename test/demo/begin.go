package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"kube-ipvs/test/lib/testbed"
)

const drawing = `
   outside                 this node                        another node
  ┌──────────────────┐    ┌────────────────────────────┐    ┌─────────────────────┐
  │ ext 192.168.50.2 │    │ node  192.168.50.1         │    │ node2  192.168.50.3 │
  └────────┬─────────┘    │ pods  p1, p2  10.244.0.11, │    │ pod r1  10.244.1.31 │
           │              │               10.244.0.12  │    └──────────┬──────────┘
           │              │       c1      10.244.0.21  │               │
           │              └─────────────┬──────────────┘               │
           └────────────────────────────┴──────────────────────────────┘`

// cluster shows where we are.
func (d *demo) cluster(ctx context.Context) error {
	d.page.say("Each of these is a network namespace. p1, p2 and r1 run the programs behind the Services;")
	d.page.say("they answer with their name, such as web/p1, and with the client's address as they see it.")
	d.page.say("%s", drawing)
	for _, a := range d.apps() {
		for _, h := range a.on {
			if err := d.listen(a, h); err != nil {
				return err
			}
		}
	}
	err := testbed.Await(ctx, patience, func() error {
		for _, a := range d.apps() {
			for _, h := range a.on {
				to := fmt.Sprintf("%s:%d", h.IPv4, a.port)
				if got := testbed.Outcome(d.once(ctx, d.bed.C1, "tcp", to)); got != a.name+"/"+h.Name {
					return &falsehood{"c1 asks the pod at " + to, a.name + "/" + h.Name, got}
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.page.ok("c1 reaches every pod by the pod's own address")
	if d.before, err = d.takeInventory(ctx); err != nil {
		return err
	}
	ours := slices.ContainsFunc(lines(d.before), func(s string) bool { return strings.Contains(s, "KIPVS") || strings.HasPrefix(s, "ipvs ") })
	return d.page.claim("the node has no virtual server, and nothing of kube-ipvs", !ours, "none", d.before)
}

var announced = regexp.MustCompile(`(?m)^(\d+) writes$`)

// plan shows the writes of a start, and that plan makes none.
func (d *demo) plan(ctx context.Context) error {
	out, code, err := d.kubeIPVS(ctx, append([]string{"plan", "--manifests", d.dir}, d.flags()...)...)
	if err != nil {
		return err
	}
	d.page.say("kube-ipvs is to follow a copy of the examples, for we will edit them.")
	d.page.command("kube-ipvs plan --manifests examples --node-name node ...", excerpt(lines(out)))
	m := announced.FindStringSubmatch(out)
	if m == nil || code != 2 {
		return &falsehood{"plan announces writes", "a number of writes, exit code 2", fmt.Sprintf("exit code %d: %s", code, out)}
	}
	if d.planned, err = strconv.Atoi(m[1]); err != nil {
		return err
	}
	if err := d.page.claim("the examples have no mistakes", !strings.Contains(out, "problem:"), "no problem", out); err != nil {
		return err
	}
	after, err := d.takeInventory(ctx)
	if err != nil {
		return err
	}
	diff := differences(d.before, after)
	return d.page.claim(fmt.Sprintf("it would write %d objects, says why, and has written none", d.planned), len(diff) == 0,
		"no change of the node", strings.Join(diff, "\n"))
}

// excerpt picks the lines of a plan that are about the ClusterIP of web, one of
// those that all Services need, and the last.
func excerpt(plan []string) []string {
	var out []string
	for _, line := range plan {
		f := strings.Fields(line)
		if strings.Contains(line, "default/web: ClusterIP") || strings.HasPrefix(line, "add rules IPv4") {
			what, why, _ := strings.Cut(line, "  ")
			out = append(out, fmt.Sprintf("%-63s  %s", what, strings.TrimSpace(why)))
		}
		if len(f) == 2 && f[1] == "writes" {
			out = append(out, "...", line)
		}
	}
	return out
}

// start runs kube-ipvs and asks a ClusterIP.
func (d *demo) start(ctx context.Context) error {
	first, err := d.launch(ctx)
	if err != nil {
		return err
	}
	d.page.command("kube-ipvs run --manifests examples --node-name node ... &", nil)
	err = d.page.claim(fmt.Sprintf("it has written what was planned: %s objects in %s", first.get("writes"), first.took()),
		first.get("writes") == strconv.Itoa(d.planned) && first.get("failed") == "0",
		fmt.Sprintf("writes=%d failed=0", d.planned), string(first))
	if err != nil {
		return err
	}
	web := []string{"web/p1", "web/p2"}
	return d.requests(ctx, []request{
		{from: d.bed.C1, what: "ClusterIP", to: webCluster, want: web, source: d.bed.C1},
		{from: d.bed.Node, what: "ClusterIP", to: webCluster, want: web, source: d.bed.Node},
	}, "both endpoints answer, each of them half of the requests",
		"both clients are seen with their own address")
}
