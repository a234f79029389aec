package life

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// node is a network namespace with an uplink: all of a node that the
// programming needs. It goes with the test.
type node struct {
	t       *testing.T
	name    string
	mode    string
	binding string
	dir     string   // of the manifests
	prefix  []string // put before kube-ipvs: a command that runs it in another environment
	flags   []string // of run and plan
	tmp     string
	running *testbed.Daemon // the one that was started last
}

var nodes atomic.Int32

// The link has no link-local addresses, which would differ from node to node.
const uplink = `
ip link set lo up
ip link add eth0 type veth peer name peer
[ ! -e /proc/net/if_inet6 ] || {
  ip link set eth0 addrgenmode none
  ip link set peer addrgenmode none
}
ip link set eth0 up
ip link set peer up
ip addr add 192.168.50.1/24 dev eth0
ip route add default via 192.168.50.254
[ ! -e /proc/net/if_inet6 ] || {
  ip -6 addr add fd50::1/64 dev eth0 nodad
  ip -6 route add default via fd50::fe
}`

// newNode returns a node with the binding that is the default.
func newNode(t *testing.T, mode string) *node {
	t.Helper()
	return newBoundNode(t, mode, "address")
}

func newBoundNode(t *testing.T, mode, binding string) *node {
	t.Helper()
	return newNodeBy(t, "add", mode, binding)
}

// newNodeBy returns the node of a namespace that "ip netns" adds or, by its process,
// attaches a name to.
func newNodeBy(t *testing.T, how, mode, binding string) *node {
	t.Helper()
	n := &node{
		t: t, name: fmt.Sprintf("life%d", nodes.Add(1)), mode: mode, binding: binding, dir: t.TempDir(), tmp: t.TempDir(),
		flags: []string{"--node-name", "node", "--cluster-cidr", "10.244.0.0/16,fd44::/64", "--cluster-ip-servers", mode, "--vip-binding", binding, "--drain-timeout", "0s"},
	}
	args := []string{"netns", how, n.name}
	if how == "attach" {
		args = append(args, "1") // the first process
	}
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("%s a namespace: %v: %s", how, err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", n.name).CombinedOutput(); err != nil {
			t.Errorf("delete the namespace: %v: %s", err, out)
		}
	})
	n.sh(uplink)
	return n
}

func (n *node) command(args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", n.name}, args...)...)
}

// sh runs a script on the node, fails the test if that fails, and returns its output.
func (n *node) sh(format string, args ...any) string {
	n.t.Helper()
	script := fmt.Sprintf(format, args...)
	out, err := n.command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

// kube runs a subcommand that ends by itself.
func (n *node) kube(args ...string) (out string, code int) {
	n.t.Helper()
	cmd := n.command(append(append(n.prefix, binary), args...)...)
	kill := time.AfterFunc(testbed.Limit(patience), func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.t.Fatalf("%s: %v", cmd, err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

func (n *node) plan() (out string, code int) {
	n.t.Helper()
	return n.kube(append([]string{"plan", "--manifests", n.dir}, n.flags...)...)
}

// cleanup removes the objects of kube-ipvs and returns their number.
func (n *node) cleanup(flags ...string) int {
	n.t.Helper()
	out, code := n.kube(append([]string{"cleanup"}, flags...)...)
	var removed int
	if _, err := fmt.Sscanf(out, "removed %d objects", &removed); err != nil || code != 0 {
		n.t.Fatalf("cleanup %q: exit code %d: %s", flags, code, out)
	}
	return removed
}

// start runs the daemon over the node's folder until the test ends.
func (n *node) start(flags ...string) *daemon {
	n.t.Helper()
	pidFile, script := filepath.Join(n.tmp, "pid"), filepath.Join(n.tmp, "kube-ipvs")
	// All of it happens in one process, which the daemon thus gets.
	text := fmt.Sprintf("#!/bin/sh\necho $$ >%s\nexec ip netns exec %s %s %s \"$@\"\n", pidFile, n.name, strings.Join(n.prefix, " "), binary)
	if err := testbed.WriteScript(script, text); err != nil {
		n.t.Fatal(err)
	}
	if err := os.RemoveAll(pidFile); err != nil {
		n.t.Fatal(err)
	}
	flags = append(append([]string{"--log-format", "json", "--verbose"}, n.flags...), flags...)
	inner, err := testbed.Start(script, n.dir, flags...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.running = inner
	d := &daemon{Daemon: inner, n: n}
	n.t.Cleanup(func() {
		if !d.ended {
			d.Kill()
		}
		if n.t.Failed() {
			n.t.Logf("kube-ipvs said:\n%s", tail(d.Log(), 60))
		}
	})
	n.await(func() error {
		text, err := os.ReadFile(pidFile)
		if err != nil {
			return err
		}
		_, err = fmt.Sscan(string(text), &d.pid)
		return err
	})
	return d
}

// tail returns the last lines of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// await waits until a condition holds.
func (n *node) await(check func() error) {
	n.t.Helper()
	if err := testbed.Await(n.t.Context(), patience, check); err != nil {
		n.t.Fatal(err)
	}
}

// settled waits until the kernel holds the objects of the manifests.
func (n *node) settled() {
	n.t.Helper()
	if n.running != nil {
		n.running.Ready(n.t.Context())
	}
	n.await(func() error {
		if out, code := n.plan(); code != 0 {
			return fmt.Errorf("plan: exit code %d: %s", code, tail(out, 20))
		}
		return nil
	})
}

// put writes a manifest into the node's folder.
func (n *node) put(name, manifest string) {
	n.t.Helper()
	if err := testbed.Put(n.dir, name, manifest); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) remove(name string) {
	n.t.Helper()
	if err := os.Remove(filepath.Join(n.dir, name)); err != nil {
		n.t.Fatal(err)
	}
}

// server returns where the virtual servers of ClusterIP 10.96.0.i stand.
func (n *node) server(i int) string {
	if n.mode == "image" {
		return fmt.Sprintf("242.96.0.%d", i) // the leading five bits are those of 240.0.0.0/5
	}
	return fmt.Sprintf("10.96.0.%d", i)
}
