package life

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// mistake is something wrong in the manifests and how the log names it.
type mistake struct {
	name, file, manifest        string
	object, field, what, origin string // in part
	adds                        bool   // some of the file is of use
}

var mistakes = []mistake{
	{name: "broken YAML", file: "wrong.yaml", manifest: "apiVersion: v1\nkind: [Service\nmetadata: {name: x}\n",
		origin: "wrong.yaml, document 1", what: "malformed"},
	{name: "a known file is broken", file: "plain.yaml", manifest: "apiVersion: v1\n  kind: Service\n",
		origin: "plain.yaml, document 1", what: "stays in force"},
	{name: "a known file is empty of sense", file: "plain.yaml", manifest: "hello\n",
		origin: "plain.yaml, document 1", what: "stays in force"},
	{name: "a port out of range", file: "wrong.yaml", manifest: manifest(spec{name: "impossible", ips: both(50), ports: []corev1.ServicePort{tcp("", 70000, 0)}, endpoints: here(1)}),
		origin: "wrong.yaml", object: "Service default/impossible", field: "spec.ports[0].port", what: "70000"},
	{name: "no address", file: "wrong.yaml", manifest: manifest(spec{name: "impossible", ips: []string{"10.96.0.256"}, ports: []corev1.ServicePort{tcp("", 80, 0)}}),
		origin: "wrong.yaml", object: "Service default/impossible", field: "spec.clusterIPs[0]", what: "10.96.0.256"},
	{name: "an address and port that another Service has", file: "wrong.yaml", manifest: manifest(spec{name: "zzz", ips: both(10), ports: []corev1.ServicePort{tcp("", 80, 0)}, endpoints: there(40)}),
		origin: "wrong.yaml", object: "Service default/zzz", what: "another Service has the same address and port"},
	{name: "an object given twice", file: "wrong.yaml", manifest: manifest(spec{name: "web", ips: both(51), ports: []corev1.ServicePort{tcp("", 80, 0)}, endpoints: there(40)}),
		origin: "wrong.yaml", object: "Service default/web", what: "defines it too"},
	{name: "an endpoint without a good address", file: "wrong.yaml", manifest: strings.ReplaceAll(
		manifest(spec{name: "halfway", ips: both(52), ports: []corev1.ServicePort{tcp("", 80, 0)}, endpoints: there(60, 61)}), "- 10.244.0.62", "- 10.244.0.662"),
		origin: "wrong.yaml", object: "EndpointSlice default/halfway-ipv4", field: "endpoints[1].addresses[0]", what: "10.244.0.662", adds: true},
	{name: "an unknown field", file: "wrong.yaml", manifest: strings.ReplaceAll(
		manifest(spec{name: "typo", ips: both(53), ports: []corev1.ServicePort{tcp("", 80, 0)}, endpoints: there(60)}), "  ports:\n", "  prots: 1\n  ports:\n"),
		origin: "wrong.yaml", object: "Service default/typo", field: "spec.prots", what: "unknown field", adds: true},
	{name: "a scheduler that the kernel lacks", file: "wrong.yaml", manifest: manifest(spec{name: "odd", ips: both(54), ports: []corev1.ServicePort{tcp("", 80, 0)}, scheduler: "nosuch", endpoints: there(60)}),
		origin: "wrong.yaml", object: "Service default/odd", field: "metadata.annotations[kube-ipvs/scheduler]", what: "nosuch", adds: true},
}

// kube-ipvs names the faults and serves the rest; when they are mended, it serves
// everything.
func TestWrongManifests(t *testing.T) {
	t.Parallel()
	n := newNode(t, "direct") // reading does not depend on the mode
	n.enrich()
	d := n.start()
	n.settled()
	want := n.snapshot()
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			at := *n
			at.t = t
			m.check(&at, &daemon{Daemon: d.Daemon, n: &at}, want)
		})
	}
	d.stop()
}

func (m mistake) check(n *node, d *daemon, want snapshot) {
	since := len(d.records())
	n.put(m.file, m.manifest)
	d.awaitRecord(since, func(r record) bool {
		return r.Msg == "problem" && strings.Contains(r.Origin, m.origin) && strings.Contains(r.What, m.what) &&
			(m.object == "" || r.Object == m.object) && (m.field == "" || r.Field == m.field)
	})
	if m.adds {
		n.settled()
	}
	got := map[string]int{}
	for _, line := range n.snapshot() {
		got[line]++
	}
	for _, line := range want {
		if got[line]--; got[line] < 0 {
			n.t.Errorf("this is gone: %s", line)
		}
	}
	since = len(d.records())
	if good, known := rich()[m.file]; known {
		n.put(m.file, good)
	} else {
		n.remove(m.file)
	}
	d.awaitRecord(since, func(r record) bool { return r.Msg == "problem solved" })
	n.settled()
	n.same("after mending", want, n.snapshot())
}

// quietly checks that nothing is written while do happens.
func (d *daemon) quietly(what string, want snapshot, do func()) {
	d.n.t.Helper()
	since := len(d.records())
	do()
	d.n.settled()
	for _, r := range rounds(d.records()[since:]) {
		if r.Writes != 0 || r.Failed != 0 {
			d.n.t.Errorf("%s: round %d: writes=%d failed=%d", what, r.Round, r.Writes, r.Failed)
		}
	}
	d.n.same(what, want, d.n.snapshot())
}

// A file that is written anew, in place and slowly, never looks as if it had
// lost something.
func TestFileThatGrowsSlowly(t *testing.T) {
	n := newNode(t, "direct")
	n.enrich()
	d := n.start()
	n.settled()
	d.quietly("a file grew slowly", n.snapshot(), func() {
		text := rich()["plain.yaml"]
		f, err := os.Create(filepath.Join(n.dir, "plain.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		// Each piece ends where a document ends: it is good YAML that lacks objects.
		// Only the missing line feed shows it.
		for i, piece := range strings.Split(text, "\n---\n") {
			if i > 0 {
				piece = "\n---\n" + piece
			}
			if _, err := f.WriteString(piece); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond) // the writer's pace, which is under test
		}
	})
	d.stop()
}

// A folder that goes away, comes back empty and is filled again, as when a
// volume is mounted late, takes nothing from the node.
func TestFolderThatGoesAndComes(t *testing.T) {
	n := newNode(t, "direct")
	n.enrich()
	d := n.start()
	n.settled()
	want, away := n.snapshot(), n.dir+"-away"
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	said := func(since int, text string) {
		d.awaitRecord(since, func(r record) bool {
			return r.Msg == "problem" && r.Origin == n.dir && strings.Contains(r.What, text)
		})
	}
	d.quietly("the folder came back", want, func() {
		since := len(d.records())
		must(os.Rename(n.dir, away))
		said(since, "its last usable content stays in force")
		n.same("the folder went away", want, n.snapshot())
		since = len(d.records())
		must(os.Mkdir(n.dir, 0o755))
		said(since, "no manifests yet")
		n.same("the folder is empty", want, n.snapshot())
		since = len(d.records())
		for name := range rich() {
			must(os.Rename(filepath.Join(away, name), filepath.Join(n.dir, name)))
		}
		d.awaitRecord(since, func(r record) bool { return r.Msg == "problem solved" })
	})
	n.remove("plain.yaml") // it is followed again
	d.awaitRound(0, func(r record) bool { return r.Round > 1 && r.Writes > 0 })
	n.settled()
	d.stop()
}

// The plan command prints the writes and their Services, also by its exit code, and
// writes nothing.
func TestPlan(t *testing.T) {
	inModes(t, func(t *testing.T, n *node) {
		before := n.snapshot()
		n.enrich()
		out, code := n.plan()
		if code != 2 || !strings.Contains(out, "add virtual server "+n.server(10)+":80/tcp rr") || !strings.Contains(out, "default/web:") {
			t.Errorf("plan on a fresh node: exit code %d, want 2; it says:\n%s", code, tail(out, 20))
		}
		n.same("plan changed the node", before, n.snapshot())
		d := n.start()
		n.settled()
		for _, args := range [][]string{{"plan"}, {"explain", "default/web"}} {
			if out, code := n.kube(args...); code != 0 || !strings.Contains(out, "the configuration of the running kube-ipvs applies") {
				t.Errorf("%q without flags: exit code %d, want 0; it says:\n%s", args, code, tail(out, 20))
			}
		}
		d.stop()
		if out, code := n.plan(); code != 0 || !strings.Contains(out, "nothing to do") {
			t.Errorf("plan over a programmed node: exit code %d, want 0; it says:\n%s", code, out)
		}
		n.sh("ipvsadm -d -t %s:80 -r 10.244.0.2:8080", n.server(10))
		out, code = n.plan()
		if code != 2 || !strings.Contains(out, "default/web:") || !strings.Contains(out, "1 writes") {
			t.Errorf("plan with one difference: exit code %d, want 2; it says:\n%s", code, out)
		}
		for _, wrong := range [][]string{{"plan"}, {"plan", "--manifests", n.dir, "--no-such-flag"}, {"plan", "--manifests", n.dir, "stray"}} {
			if out, code := n.kube(wrong...); code != 64 {
				t.Errorf("%q: exit code %d, want 64: %s", wrong, code, tail(out, 3))
			}
		}
	})
}
