package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// demo is the cluster and its state.
type demo struct {
	page        *page
	bed         *testbed.Bed
	binary, dir string            // kube-ipvs, and the folder of manifests that it follows
	daemons     []*testbed.Daemon // all that were started; the last one may run
	pods        map[string]func() // ends the listeners, by name such as web/p1
	before      string            // the node before the first start
	planned     int               // writes that the plan announced
	port        uint16            // that a client had last
}

// patience is how long anything may take to happen.
const patience = 10 * time.Second

// Addresses in the manifests.
const (
	webFile      = "web-endpoints.yaml"
	webCluster   = "10.96.0.80:80"
	webImage     = "242.96.0.80:80" // under which IPVS knows it
	webPort      = 30080
	webNodePort  = "192.168.50.1:30080"
	webBalancer  = "192.168.50.200:80"
	webExternal  = "192.168.50.201:80"
	dnsCluster   = "10.96.0.53:53"
	cartCluster  = "10.96.0.81:80"
	hello4       = "10.96.0.46:80"
	hello6       = "[fd96::46]:80"
	edgeBalancer = "192.168.50.202:80"
	edgeNodePort = "192.168.50.1:30043"
	edgeCluster  = "10.96.0.43:80"
	shopCluster  = "10.96.0.84:80"
)

var archive = [][2]string{
	{"ClusterIP", "10.96.0.40:80"},
	{"node port", "192.168.50.1:30040"},
	{"load-balancer IP", "192.168.50.203:80"},
}

// app is a program that pods run.
type app struct {
	name string
	port uint16
	on   []*testbed.Host
}

func (d *demo) apps() []app {
	p1, p2, r1 := d.bed.P1, d.bed.P2, d.bed.R1
	return []app{
		{"web", 8080, []*testbed.Host{p1, p2}},
		{"dns", 5353, []*testbed.Host{p1, r1}},
		{"cart", 8081, []*testbed.Host{p1, p2, r1}},
		{"hello", 8082, []*testbed.Host{p2, r1}},
		{"edge", 8083, []*testbed.Host{p2, r1}},
		{"shop", 8084, []*testbed.Host{p1, p2, r1}},
	}
}

// listen lets a pod run an app.
func (d *demo) listen(a app, h *testbed.Host) error {
	name := a.name + "/" + h.Name
	stop, err := d.bed.Serve(h, a.port, name)
	d.pods[name] = stop
	return err
}

// flags are those of run and plan.
func (d *demo) flags() []string {
	return []string{"--node-name", "node", "--cluster-cidr", d.bed.PodCIDR4.String() + "," + d.bed.PodCIDR6.String()}
}

// launch starts kube-ipvs and waits for its first round.
func (d *demo) launch(ctx context.Context, flags ...string) (round, error) {
	k, err := testbed.Start(d.binary, d.dir, append(d.flags(), flags...)...)
	if err != nil {
		return "", err
	}
	d.daemons = append(d.daemons, k)
	var first round
	err = testbed.Await(ctx, patience, func() error {
		rs := rounds(k.Log())
		if len(rs) == 0 {
			return errors.New("kube-ipvs has not done its first round")
		}
		first = rs[0]
		return nil
	})
	return first, err
}

// daemon returns the kube-ipvs that runs.
func (d *demo) daemon() *testbed.Daemon { return d.daemons[len(d.daemons)-1] }

// close stops all processes and removes the cluster.
func (d *demo) close() error {
	if len(d.daemons) > 0 {
		d.daemon().Kill()
	}
	d.bed.Close()
	return os.RemoveAll(d.dir)
}

// edit replaces text in a manifest.
func (d *demo) edit(file, from, to string) error {
	data, err := os.ReadFile(filepath.Join(d.dir, file))
	if err != nil {
		return err
	}
	if n := strings.Count(string(data), from); n != 1 {
		return fmt.Errorf("%s has this text %d times, and the demo wants to change it in one place:\n%s", file, n, from)
	}
	return testbed.Put(d.dir, file, strings.Replace(string(data), from, to, 1))
}

// States of an endpoint.
const (
	ready       = "{ready: true, serving: true, terminating: false}"
	terminating = "{ready: false, serving: true, terminating: true}"
)

// endpoint returns an endpoint as the manifests spell it.
func (d *demo) endpoint(h *testbed.Host, conditions string) string {
	return fmt.Sprintf("- addresses: [%q]\n  nodeName: %s\n  conditions: %s\n", h.IPv4, d.bed.NodeOf(h), conditions)
}

func lines(text string) []string { return strings.Split(strings.TrimRight(text, "\n"), "\n") }

func prefixed(prefix string, list []string) []string {
	out := make([]string, len(list))
	for i, line := range list {
		out[i] = prefix + line
	}
	return out
}

func address(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }
