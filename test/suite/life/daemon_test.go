package life

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Two daemons would fight. The second one names the first, and a killed one does not
// hinder the next.
func TestSecondDaemonIsRefused(t *testing.T) {
	n := newNode(t, "direct")
	n.enrich()
	d := n.start()
	d.first()
	for _, args := range [][]string{n.run(), {"cleanup"}} { // a running daemon would restore the removed objects
		n.refused(1, []string{"another kube-ipvs programs this node", fmt.Sprintf("pid %d", d.pid)}, args...)
	}
	d.kill()
	next := n.start()
	next.first()
	next.stop()
}

// The daemon drops the rights that it does not need for its work, before it reads objects.
func TestCapabilitiesAreDropped(t *testing.T) {
	n := newNode(t, "direct")
	n.enrich()
	d := n.start()
	d.first()
	for _, r := range d.records() {
		if r.Msg == "round" {
			t.Error("there was a round before rights were dropped")
		}
		if r.Msg == "capabilities" || r.Msg == "round" {
			break
		}
	}
	const netAdminAndRaw = "0000000000003000"
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", d.pid))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("threads %q, %v", tasks, err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			t.Fatal(err)
		}
		status := string(text)
		for _, set := range []string{"CapPrm", "CapEff", "CapBnd"} {
			if !strings.Contains(status, set+":\t"+netAdminAndRaw) {
				t.Errorf("%s of a thread is not %s:\n%s", set, netAdminAndRaw, status)
			}
		}
	}
	// With these it does all that it has to.
	want := n.snapshot()
	n.sh("iptables -t nat -F KIPVS-NAT; ipvsadm -C; ip link del kube-ipvs0; ipset del KIPVS-ALL 10.96.0.10,tcp:80")
	n.signal(d, syscall.SIGHUP)
	n.await(func() error {
		if diff := difference(want, n.snapshot()); diff != "" {
			return fmt.Errorf("not mended:\n%s", diff)
		}
		return nil
	})
	d.stop()
}

// run returns the arguments of a daemon over the node's folder.
func (n *node) run(flags ...string) []string {
	return append(append([]string{"run", "--manifests", n.dir}, n.flags...), flags...)
}

func (n *node) signal(d *daemon, sig syscall.Signal) {
	n.t.Helper()
	if err := syscall.Kill(d.pid, sig); err != nil {
		n.t.Fatal(err)
	}
}

// A changed configuration file is followed where that can be done live; an error in it
// changes nothing; and for other fields the daemon ends, with an error, so that a
// supervisor that restarts only failed programs starts it again.
func TestChangedConfiguration(t *testing.T) {
	n := newNode(t, "direct")
	n.enrich()
	file := filepath.Join(n.tmp, "config.yaml")
	text := "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n"
	n.write(file, text)
	d := n.start("--config", file)
	d.first()
	says := func(level, msg string) {
		d.awaitRecord(0, func(r record) bool {
			return r.Level == level && strings.HasPrefix(r.Msg, "the configuration file has changed"+msg)
		})
	}
	n.write(file, "# A comment.\n"+text)
	says("INFO", ", and means the same")
	n.write(file, text+"ipvs: {scheduler: lc}\n")
	says("INFO", ", and is followed")
	n.await(func() error {
		if out := n.sh("ipvsadm -Ln"); strings.Contains(out, " rr") || !strings.Contains(out, " lc") {
			return fmt.Errorf("the scheduler is not lc:\n%s", out)
		}
		return nil
	})
	want := n.snapshot()
	n.write(file, text+"ipvs: {scheduler: 5}\n")
	says("ERROR", " and cannot be used")
	n.write(file, text+"ipvs: {scheduler: lc}\noomScoreAdj: 5\n")
	if err := d.Wait(); err == nil || !strings.Contains(d.Log(), "has changed (oomScoreAdj): kube-ipvs exits") {
		t.Errorf("it ended with %v", err)
	}
	d.ended = true
	if diff := difference(want, n.snapshot()); diff != "" {
		t.Errorf("the programmed objects did not stay:\n%s", diff)
	}
}

func (n *node) write(file, text string) {
	n.t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// kube-proxy's rules would fight with ours.
func TestKubeProxyIsRefused(t *testing.T) {
	n := newNode(t, "direct")
	n.enrich()
	n.sh("iptables -t nat -N KUBE-SERVICES; iptables -t nat -A PREROUTING -j KUBE-SERVICES")
	n.refused(1, []string{"kube-proxy is active on this node", "--takeover", "KUBE-SERVICES"}, n.run()...)
	if out, code := n.plan(); code != 2 || !strings.Contains(out, "warning: run would not start here: kube-proxy is active on this node") {
		n.t.Errorf("plan beside kube-proxy: exit code %d: %s", code, tail(out, 20))
	}
	out, code := n.kube(append([]string{"plan", "--manifests", n.dir, "--takeover"}, n.flags...)...)
	if code != 2 || !strings.Contains(out, "are removed; ") || !strings.Contains(out, "(nat KUBE-SERVICES)") || strings.Contains(out, "would not start") {
		n.t.Errorf("plan of a takeover: exit code %d: %s", code, tail(out, 20))
	}
	d := n.start("--takeover")
	d.awaitRecord(0, func(r record) bool { return r.Msg == "taken over from kube-proxy" })
	if out := n.sh("iptables-save -t nat"); strings.Contains(out, "KUBE-") {
		t.Errorf("kube-proxy's chains are still there:\n%s", out)
	}
	n.settled()
	d.stop()
}

// A process with more rights can set the sysctls beforehand.
func TestInitOnly(t *testing.T) {
	n := newNode(t, "direct")
	n.enrich()
	before := n.snapshot()
	n.sh("sysctl -qw net.ipv4.vs.conntrack=0 net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 net.netfilter.nf_conntrack_tcp_timeout_established=77")
	out, code := n.kube(n.run("--init-only", "--conntrack-max-per-core=0")...)
	if code != 0 || !strings.Contains(out, "net.ipv4.vs.conntrack from 0 to 1") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if got := n.sh("sysctl -n net.ipv4.vs.conntrack net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.netfilter.nf_conntrack_tcp_timeout_established"); strings.Join(strings.Fields(got), " ") != "1 1 0 86400" {
		t.Errorf("sysctls are %s", got)
	}
	if diff := difference(before, n.snapshot()); diff != "" {
		t.Errorf("more than sysctls was written:\n%s", diff)
	}
	if out, code := n.kube(n.run("--init-only", "--conntrack-max-per-core=0")...); code != 0 || strings.Contains(out, "set ") {
		t.Errorf("again: exit code %d: %s", code, out)
	}
}

// After that two capabilities are enough, where sysctls are read-only. CAP_NET_RAW is
// for iptables: its match of sets opens a raw socket.
func TestFewRights(t *testing.T) {
	n := newNode(t, "direct")
	n.enrich()
	if out, code := n.kube(n.run("--init-only", "--conntrack-max-per-core=0")...); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	n.sh("sysctl -qw net.ipv6.conf.all.forwarding=1")
	script := filepath.Join(n.tmp, "unprivileged")
	n.write(script, `#!/bin/sh
set -e
mount -o bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
exec setpriv --bounding-set -all,+net_admin,+net_raw --inh-caps -all "$@"
`)
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	n.prefix = []string{"unshare", "--mount", script}
	d := n.start("--conntrack-max-per-core=0")
	if r := d.first(); r.Failed != 0 {
		t.Errorf("%d writes failed", r.Failed)
	}
	n.settled()
	n.remove("outside.yaml")
	n.settled()
	d.stop()
	for _, r := range d.records() {
		if r.Level == "ERROR" {
			t.Errorf("%s", r.Msg)
		}
	}
}
