// Package hostile plays nodes as people have them: IPv6 switched off, sysctls
// changed under a read-only /proc/sys, foreign rules, programs that flush
// everything, a tenant that asks for too much. kube-ipvs runs with the rights that
// the chart gives it. A node is lost when a probe takes it out of service, when
// a Service that was programmed does not answer, or when a change is not
// programmed. It runs in the lab.
package hostile

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

var (
	bed    *testbed.Bed
	binary = os.Getenv("KUBE_IPVS_BINARY")
)

// patience is how long a condition may take to come true. It is long because it
// only costs time when a test fails.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	testbed.Main(m, "make lab-test LAB_PACKAGES=test/suite/hostile", prepare, func() { bed.Close() })
}

// prepare builds the bed with its endpoints.
func prepare(ctx context.Context) (err error) {
	if bed, err = testbed.New(ctx); err != nil {
		return err
	}
	for _, h := range []*testbed.Host{bed.P1, bed.P2, bed.R1} {
		if _, err := bed.Serve(h, testbed.TargetPort, h.Name); err != nil {
			return err
		}
	}
	return nil
}

// TestNodesAreNotLost plays all situations, one after another, on a node for each
// place of virtual servers and each binding of ClusterIPs, as testbed.Variants has them.
func TestNodesAreNotLost(t *testing.T) {
	lost, played := 0, 0
	for i, v := range testbed.Variants(t, false) {
		t.Run(v.ClusterIPServers+"/"+v.VIPBinding, func(t *testing.T) {
			n := start(t, v.ClusterIPServers, v.VIPBinding)
			for _, s := range situations {
				if s.binding != "" && s.binding != v.VIPBinding || s.slow && i > 1 {
					continue
				}
				played++
				if !t.Run(s.name, func(t *testing.T) { n.play(t, s) }) {
					lost++
				}
			}
		})
	}
	fmt.Printf("%d nodes lost of %d\n", lost, played)
}

// node is the node under test, with a kube-ipvs that runs as in a container.
type node struct {
	*testbed.Daemon
	tools  string // folder with the programs of iptables that it finds
	number int    // of the Service that was made last
}

// unprivileged runs kube-ipvs as the chart does: /proc/sys is read-only, two
// capabilities, and tools that hang while there is a file of that name.
const unprivileged = `#!/bin/sh
set -e
mount -o bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
export PATH=%s:$PATH
exec setpriv --bounding-set -all,+net_admin,+net_raw --inh-caps -all %s "$@"
`

func start(t *testing.T, mode, binding string) *node {
	t.Helper()
	n := &node{tools: t.TempDir()}
	for _, variant := range []string{"iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"} {
		for _, does := range []string{"save", "restore"} {
			tool := variant + "-" + does
			n.write(t, filepath.Join(n.tools, tool), fmt.Sprintf("#!/bin/sh\n[ ! -e %s/hang ] || exec sleep 1000\nPATH=${PATH#*:} exec %s \"$@\"\n", n.tools, tool))
		}
	}
	inner, outer := filepath.Join(n.tools, "unprivileged"), filepath.Join(n.tools, "kube-ipvs")
	n.write(t, inner, fmt.Sprintf(unprivileged, n.tools, binary))
	n.write(t, outer, fmt.Sprintf("#!/bin/sh\nexec unshare --mount %s \"$@\"\n", inner))
	flags := []string{"--node-name", "node", "--cluster-cidr", bed.PodCIDR4.String() + "," + bed.PodCIDR6.String(),
		"--cluster-ip-servers", mode, "--vip-binding", binding, "--conntrack-max-per-core=0"}
	dir := t.TempDir()
	n.on(t, "%s run --init-only --manifests %s %s; sysctl -qw net.ipv6.conf.all.forwarding=1", binary, dir, strings.Join(flags, " "))
	d, err := testbed.Start(outer, dir, flags...)
	if err != nil {
		t.Fatal(err)
	}
	n.Daemon = d
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			t.Logf("kube-ipvs said:\n%s", d.Log())
		}
		if out, err := bed.Node.Shell(context.WithoutCancel(t.Context()), binary+" cleanup"); err != nil {
			t.Errorf("cleanup: %v %s", err, out)
		}
	})
	n.put(t, "base.yaml", bed.With(testbed.Service{Name: "base", Number: 1, Type: "LoadBalancer"}, testbed.Backends(bed.P1)))
	n.await(t, n.ready)
	return n
}

// play plays a situation: it hurts the node, looks whether that is lost, starts
// kube-ipvs again, looks again, and heals the node.
func (n *node) play(t *testing.T, s situation) {
	if s.own && !testbed.OwnKernel() {
		t.Skip("it would be done to the machine")
	}
	n.on(t, "%s", n.fill(s.hurt))
	if s.then != nil {
		s.then(t, n)
	}
	n.serves(t, "base", 1)
	n.change(t)
	if s.restart {
		if err := n.Restart(); err != nil {
			t.Fatalf("restart: %v", err)
		}
		n.await(t, n.ready)
		n.serves(t, "base", 1)
		n.change(t)
	}
	n.notLost(t)
	n.on(t, "%s", n.fill(s.heal))
	n.await(t, func() error { return n.Settled(t.Context()) })
	n.notLost(t)
}

// fill completes a script.
func (n *node) fill(script string) string {
	return strings.NewReplacer("$TOOLS", n.tools, "$DIR", n.Dir).Replace(script + "\n:")
}

// change makes a Service and awaits that it answers.
func (n *node) change(t *testing.T) {
	t.Helper()
	n.number = n.number%10 + 2 // 2 to 11
	s := testbed.Service{Name: fmt.Sprintf("change-%d", n.number), Number: n.number}
	n.put(t, "change.yaml", bed.With(s, testbed.Backends(bed.P2)))
	n.serves(t, s.Name, n.number)
}

// serves awaits that a Service answers a pod.
func (n *node) serves(t *testing.T, name string, number int) {
	t.Helper()
	at := testbed.Service{Name: name, Number: number}.ClusterIP().V4
	n.await(t, func() error {
		_, err := bed.C1.Ask(t.Context(), "tcp", at, testbed.From{})
		if err != nil {
			return fmt.Errorf("Service %s at %s: %w", name, at, err)
		}
		return nil
	})
}

// notLost expects that no probe takes the node out of service.
func (n *node) notLost(t *testing.T) {
	t.Helper()
	for _, path := range []string{"livez", "healthz", "readyz"} {
		if err := n.probe(path); err != nil {
			t.Error(err)
		}
	}
}

func (n *node) ready() error { return n.probe("readyz") }

// probe asks a probe and returns an error unless it says 200.
func (n *node) probe(path string) error {
	var code int
	var body []byte
	err := bed.Node.Do(func() error {
		client := http.Client{Timeout: 5 * time.Second}
		r, err := client.Get("http://127.0.0.1:10256/" + path)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		code = r.StatusCode
		body, err = io.ReadAll(r.Body)
		return err
	})
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", path, code, body)
	}
	return err
}

func (n *node) await(t *testing.T, check func() error) {
	t.Helper()
	if err := testbed.Await(t.Context(), patience, check); err != nil {
		t.Fatalf("%v\nkube-ipvs said:\n%s", err, tail(n.Log()))
	}
}

// tail returns the end of a log.
func tail(text string) string { return text[max(0, len(text)-6000):] }

func (n *node) on(t *testing.T, format string, args ...any) {
	t.Helper()
	if out, err := bed.Node.Shell(t.Context(), fmt.Sprintf(format, args...)); err != nil {
		t.Fatalf("%v %s", err, out)
	}
}

func (n *node) put(t *testing.T, name, manifest string) {
	t.Helper()
	if err := testbed.Put(n.Dir, name, manifest); err != nil {
		t.Fatal(err)
	}
}

func (n *node) write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}
