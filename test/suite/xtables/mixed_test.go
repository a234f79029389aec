package xtables

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

const patience = 60 * time.Second

// TestMixedVersions has the host's iptables write the usual rules of a node's
// programs. Then kube-ipvs runs with one version after another, each over the rules of
// the one before, as when the image is changed.
func TestMixedVersions(t *testing.T) {
	testbed.Long(t, "make test-xtables")
	images, hosts := releases(t, "bookworm", "sid", "bullseye", "bookworm"), releases(t, "bionic", "focal", "sid")
	if *every {
		images = releases(t, "bookworm", "sid", "bullseye", "trixie", "focal", "noble", "bookworm")
		hosts = releases(t, "bionic", "focal", "bullseye", "noble", "sid")
	}
	for _, variant := range []string{"nft", "legacy"} {
		for _, host := range hosts {
			if !host.has(variant) {
				continue
			}
			t.Run(fmt.Sprintf("%s/host %s", variant, host), func(t *testing.T) {
				n := newNode(t, host, variant)
				for i, image := range images {
					t.Run(fmt.Sprintf("image %s %d", image, i), func(t *testing.T) { n.play(t, image) })
				}
				n.cleanUp(t, images[len(images)-1])
			})
		}
	}
}

// node is the node, with the rules of others in one variant.
type node struct {
	host    version
	variant string
	dir     string // of the manifests
	before  string // the same, as the host's iptables and nft show it
}

func newNode(t *testing.T, host version, variant string) *node {
	t.Helper()
	n := &node{host: host, variant: variant, dir: t.TempDir()}
	t.Cleanup(func() { on(t, wipe+"; ipset destroy") })
	on(t, "ipset create HOST hash:net; ipset create HOST6 hash:net family inet6")
	rules := []string{possible(t, "iptables", variant), possible(t, "ip6tables", variant)}
	for i, family := range families {
		if !host.has("nft") { // before 1.6.2 there was no such option
			rules[i] = strings.ReplaceAll(rules[i], " --random-fully", "")
		}
		on(t, "%s --noflush <<'END'\n%sEND", n.tool(family, "-restore"), rules[i])
	}
	if err := testbed.Put(n.dir, "web.yaml", bed.With(n.service(), testbed.Backends(bed.P1))); err != nil {
		t.Fatal(err)
	}
	n.before = n.shown(t)
	return n
}

// possible returns the usual rules of a node's programs in a family, without those for
// which this kernel lacks something: each is tried by the newest iptables.
func possible(t *testing.T, family, variant string) string {
	t.Helper()
	key := family + variant
	if _, known := possibles[key]; known {
		return possibles[key]
	}
	text, err := os.ReadFile(map[string]string{"iptables": "testdata/host4.rules", "ip6tables": "testdata/host6.rules"}[family])
	if err != nil {
		t.Fatal(err)
	}
	var out, table strings.Builder // of the table: its name and chains
	for line := range strings.Lines(string(text)) {
		switch line[0] {
		case '*':
			table.Reset()
			table.WriteString(line + ":TRY - [0:0]\n")
		case ':':
			table.WriteString(line)
		case '-':
			_, rule, _ := strings.Cut(line[len("-A "):], " ")
			tool := release(t, "sid").tool(family + "-" + variant + "-restore")
			if said, err := bed.Node.Shell(t.Context(), fmt.Sprintf("%s --noflush <<'END'\n%s-A TRY %sCOMMIT\nEND", tool, table.String(), rule)); err != nil {
				if !optional.MatchString(rule) {
					t.Errorf("%s says no to %s: %s", tool, strings.TrimSpace(rule), said)
				}
				t.Logf("this kernel cannot do %s: %s", strings.TrimSpace(rule), said)
				continue
			}
		}
		out.WriteString(line)
	}
	on(t, wipe)
	possibles[key] = out.String()
	return possibles[key]
}

// optional are the modules that the kernel of the lab lacks and those of distributions
// have.
var optional = regexp.MustCompile(`-[mj] (bpf|connlimit|dscp|DSCP|hashlimit|hl|iprange|length|NFLOG|pkttype|rt|string|TCPMSS|TEE|time)\b`)

var possibles = map[string]string{} // by family and variant

// wipe removes all rules.
const wipe = "nft flush ruleset; for v in '' 6; do for t in raw mangle nat filter; do ip${v}tables-legacy -t $t -F; ip${v}tables-legacy -t $t -X; done; done"

func (n *node) service() testbed.Service {
	return testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer"}
}

// tool returns a program of the host's.
func (n *node) tool(family, does string) string { return n.host.tool(family + "-" + n.variant + does) }

var volatile = regexp.MustCompile(`(?m)^#.*\n|\[\d+:\d+\]|packets \d+ bytes \d+`)

// shown returns the output of the host's iptables and nft for rules.
func (n *node) shown(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	for _, family := range families {
		for _, table := range []string{"raw", "mangle", "nat", "filter"} {
			out.WriteString(on(t, "%s -t %s 2>/dev/null", n.tool(family, "-save"), table))
		}
	}
	return plain(out.String() + on(t, "nft list ruleset 2>&1"))
}

// plain leaves out values that change by themselves.
func plain(shown string) string { return volatile.ReplaceAllString(shown, "") }

// others returns the rules of other programs, as the host's iptables shows them.
func others(shown string) string {
	var out []string
	for line := range strings.Lines(shown) {
		if strings.HasPrefix(line, "table ") { // the output of nft comes last
			break
		}
		if !strings.Contains(line, "KIPVS") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// with returns a script that runs kube-ipvs with an image's iptables.
func with(t *testing.T, image version) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kube-ipvs")
	text := fmt.Sprintf("#!/bin/sh\nPATH=%s:$PATH exec %s \"$@\"\n", filepath.Dir(image.tool("iptables")), binary)
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// start runs kube-ipvs with an image's iptables.
func (n *node) start(t *testing.T, image version, flags ...string) *testbed.Daemon {
	t.Helper()
	return n.launch(t, with(t, image), flags...)
}

// launch runs a program that is kube-ipvs in some environment.
func (n *node) launch(t *testing.T, program string, flags ...string) *testbed.Daemon {
	t.Helper()
	flags = append([]string{"--node-name", "node", "--cluster-cidr", bed.PodCIDR4.String() + "," + bed.PodCIDR6.String()}, flags...)
	d, err := testbed.Start(program, n.dir, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, d) })
	return d
}

// stop ends kube-ipvs and returns its output.
func stop(t *testing.T, d *testbed.Daemon) string {
	t.Helper()
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Logf("kube-ipvs said:\n%s", d.Log())
	}
	return d.Log()
}

// play has kube-ipvs start with an image's iptables, compare, repair, and end.
func (n *node) play(t *testing.T, image version) {
	n.watch(t, func() *testbed.Daemon { return n.start(t, image) })
}

// watch has a kube-ipvs start, compare and repair.
func (n *node) watch(t *testing.T, start func() *testbed.Daemon) {
	t.Helper()
	began := time.Now()
	d := start()
	n.settled(t, d)
	if !strings.Contains(d.Log(), "iptables="+n.variant) {
		t.Errorf("it has not taken %s, where the kubelet's hint is", n.variant)
	}
	first := writes(t)
	n.quiet(t, d)
	t.Logf("%d writes at the start, settled after %s", first, time.Since(began).Round(10*time.Millisecond))
	n.repaired(t, d)
	if err := same("rules of others", others(n.before), others(n.shown(t))); err != nil {
		t.Error(err)
	}
}

// settled awaits that all is as it is to be, and that the Service answers.
func (n *node) settled(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	n.serves(t)
	if err := d.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// serves awaits that all is written, and that the Service answers by each way.
func (n *node) serves(t *testing.T) {
	t.Helper()
	await(t, func() error { return bed.Node.Do(func() error { return testbed.Ready(t.Context()) }) })
	for _, ask := range []struct {
		from *testbed.Host
		to   testbed.Frontend
	}{{bed.C1, n.service().ClusterIP()}, {bed.Node, n.service().ClusterIP()}, {bed.Ext, n.service().NodePort()}, {bed.Ext, n.service().LoadBalancer()}} {
		for _, four := range []bool{true, false} {
			if a, err := ask.from.Ask(t.Context(), "tcp", ask.to.Addr(four), testbed.From{}); testbed.Outcome(a, err) != "p1" {
				t.Errorf("%s from %s: %s", ask.to.Name, ask.from.Name, testbed.Outcome(a, err))
			}
		}
	}
}

// quiet has everything compared, and expects that this writes nothing.
func (n *node) quiet(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	for range 2 {
		wrote, audits := writes(t), metric(t, "kube_ipvs_audits_total")
		if err := syscall.Kill(d.PID(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		await(t, func() error {
			if metric(t, "kube_ipvs_audits_total") == audits {
				return fmt.Errorf("no audit since SIGHUP")
			}
			return nil
		})
		if more := writes(t) - wrote; more > 0 {
			t.Errorf("an audit without changes wrote %d objects", more)
		}
	}
}

// repaired has the host's iptables take away a jump of ours, and put a rule in front of
// others, and awaits that they are where they were.
func (n *node) repaired(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	for family, own := range map[string]string{"iptables": "KIPVS-NAT", "ip6tables": "KIPVS6-NAT"} {
		tool := n.tool(family, "")
		on(t, "%[1]s -t nat -D PREROUTING -j %[2]s; %[1]s -t mangle -I PREROUTING -s %[3]s -j RETURN", tool, own, map[string]string{"iptables": "192.0.2.99", "ip6tables": "2001:db8::99"}[family])
	}
	_ = syscall.Kill(d.PID(), syscall.SIGHUP) // of legacy rules the kernel tells nothing
	await(t, func() error {
		for _, family := range families {
			for _, table := range []string{"nat", "mangle"} {
				rules := on(t, "%s -t %s -S PREROUTING | grep -v ^-P | head -n 1", n.tool(family, ""), table)
				if !strings.Contains(rules, "KIPVS") {
					return fmt.Errorf("the first rule of %s %s PREROUTING is %q", family, table, rules)
				}
			}
		}
		return nil
	})
	n.settled(t, d)
	on(t, "%s -t mangle -D PREROUTING -s 192.0.2.99 -j RETURN; %s -t mangle -D PREROUTING -s 2001:db8::99 -j RETURN", n.tool("iptables", ""), n.tool("ip6tables", ""))
}

// cleanUp removes the objects of kube-ipvs, and expects that nothing else has changed.
func (n *node) cleanUp(t *testing.T, image version) {
	t.Helper()
	n.cleanUpBy(t, with(t, image))
}

func (n *node) cleanUpBy(t *testing.T, program string) {
	t.Helper()
	on(t, "%s cleanup", program)
	if err := same("rules after cleanup", n.before, n.shown(t)); err != nil {
		t.Error(err)
	}
	if sets := on(t, "ipset list -n"); strings.Contains(sets, "KIPVS") {
		t.Errorf("sets are left:\n%s", sets)
	}
}

func await(t *testing.T, check func() error) {
	t.Helper()
	if err := testbed.Await(t.Context(), patience, check); err != nil {
		t.Fatal(err)
	}
}

func writes(t *testing.T) int { return metric(t, "kube_ipvs_writes_total") }

// metric returns the sum of a metric over its labels.
func metric(t *testing.T, name string) (sum int) {
	t.Helper()
	for line := range strings.Lines(on(t, "curl -sf http://127.0.0.1:10249/metrics")) {
		var n float64
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') {
			if _, err := fmt.Sscan(rest[strings.LastIndex(rest, " "):], &n); err != nil {
				t.Fatal(err)
			}
			sum += int(n)
		}
	}
	return sum
}

// same returns an error with the lines that two texts do not share.
func same(what, a, b string) error {
	if a == b {
		return nil
	}
	var out strings.Builder
	count := map[string]int{}
	for line := range strings.Lines(a) {
		count[line]++
	}
	for line := range strings.Lines(b) {
		if count[line]--; count[line] < 0 {
			fmt.Fprintf(&out, "+ %s", line)
		}
	}
	for line := range strings.Lines(a) {
		if count[line] > 0 {
			count[line]--
			fmt.Fprintf(&out, "- %s", line)
		}
	}
	return fmt.Errorf("%s differ:\n%s", what, out.String())
}
