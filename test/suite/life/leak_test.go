package life

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"kube-ipvs/test/lib/testbed"

	corev1 "k8s.io/api/core/v1"
)

// forbidden are programs that do by a process the work that kube-ipvs does by
// messages.
var forbidden = []string{"ipset", "ipvsadm", "ip", "conntrack", "modprobe", "sysctl", "iptables", "ip6tables", "nft", "sh"}

// bait puts programs of the forbidden names in front of the real ones, which
// leave a trace in the returned file.
func (n *node) bait() string {
	n.t.Helper()
	dir := n.t.TempDir()
	trace := filepath.Join(dir, "trace")
	for _, name := range forbidden {
		// The shell is named by path: its own name is bait, too.
		text := fmt.Sprintf("#!/bin/sh\necho %s \"$@\" >>%s\nexit 1\n", name, trace)
		if err := testbed.WriteScript(filepath.Join(dir, name), text); err != nil {
			n.t.Fatal(err)
		}
	}
	n.prefix = []string{"env", "PATH=" + dir + ":" + os.Getenv("PATH")}
	return trace
}

// files counts the daemon's open files.
func (d *daemon) files() int {
	d.n.t.Helper()
	all, err := os.ReadDir("/proc/" + strconv.Itoa(d.pid) + "/fd")
	if err != nil {
		d.n.t.Fatal(err)
	}
	return len(all)
}

var goroutine = regexp.MustCompile(`(?m)^goroutine \d+ `)

// goroutines ends the daemon and counts its goroutines at that moment.
func (d *daemon) goroutines() int {
	d.n.t.Helper()
	if err := syscall.Kill(d.pid, syscall.SIGQUIT); err != nil {
		d.n.t.Fatal(err)
	}
	d.ended = true
	_ = d.Stop() // it has ended, or is about to
	return len(goroutine.FindAllString(d.Log(), -1))
}

// Two hundred rounds leave no file open, no goroutine behind and no program
// started but the tools of iptables.
func TestNothingLeaks(t *testing.T) {
	inModes(t, func(t *testing.T, n *node) {
		trace := n.bait()
		n.enrich()
		start := func() *daemon {
			d := n.start("--audit-period", "1s")
			// By the first audit all sockets that stay are open; on a busy machine two were not, after round 2.
			d.awaitRound(0, func(r record) bool { return r.Round > 2 && r.Full })
			return d
		}
		d := start()
		n.settled()
		few := d.goroutines()
		d = start()
		files := d.files()
		for i := range 200 {
			since := len(d.records())
			n.put("flap.yaml", manifest(spec{name: "flap", ips: both(60), ports: []corev1.ServicePort{tcp("a", 80, 0), udp("b", 80, 0)}, endpoints: there(i%5, 50)}))
			d.awaitRound(since, func(r record) bool { return r.Writes > 0 })
		}
		n.await(func() error { // an audit has pipes to iptables-save meanwhile
			if now := d.files(); now > files {
				return fmt.Errorf("%d files are open, there were %d", now, files)
			}
			return nil
		})
		processes := 0
		for _, r := range rounds(d.records()) {
			processes += r.Processes
			if !r.Full && r.Processes != 0 {
				t.Errorf("round %d started %d processes", r.Round, r.Processes)
			}
			if r.Drift != 0 || r.Failed != 0 {
				t.Errorf("round %d: drift=%d failed=%d", r.Round, r.Drift, r.Failed)
			}
		}
		t.Logf("%d files, %d goroutines, %d rounds, %d processes", files, few, len(rounds(d.records())), processes)
		if many := d.goroutines(); few == 0 || many > few+2 { // one or the other may be in an audit
			t.Errorf("%d goroutines after 200 rounds, %d at first", many, few)
		}
		if text, err := os.ReadFile(trace); err == nil {
			t.Errorf("programs that have no business here were started:\n%s", strings.TrimSpace(string(text)))
		}
	})
}
