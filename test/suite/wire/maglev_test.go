package wire

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// TestFlowsOutliveNode holds connections through a node that is lost: another takes its place,
// with another name and no memory. Those of a Service with mh go on, since both nodes have the
// same table, and schedule what has begun elsewhere (sloppy_tcp). It is about traffic that is not masqueraded;
// see docs/balancing.md.
func TestFlowsOutliveNode(t *testing.T) {
	rebuildAfter(t)
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			s, rr := webService(), webService()
			s.Annotations = "kube-ipvs/scheduler: mh"
			rr.Name, rr.Number = "rr", 2
			for _, s := range []testbed.Service{s, rr} {
				if err := testbed.Put(dir, s.Name+".yaml", bed.With(s, testbed.Backends(bed.P1, bed.P2, bed.R1))); err != nil {
					t.Fatal(err)
				}
			}
			lose := runOn(t, dir, "first", mode)
			to := []testbed.Frontend{s.ClusterIP(), rr.ClusterIP()}
			var before [2][]*testbed.Session
			for i, f := range to {
				for n := range map[int]int{0: 800, 1: 50}[i] {
					session, err := bed.C1.Dial(t.Context(), "tcp", f.Addr(n%4 > 0), testbed.From{Port: uint16(20000 + n)})
					if err != nil {
						t.Fatalf("connection %d to %s: %v", n, f.Addr(n%4 > 0), err)
					}
					t.Cleanup(session.Reset)
					before[i] = append(before[i], session)
				}
			}
			lose()
			runOn(t, dir, "second", mode)
			mh, others := living(before[0]), living(before[1])
			t.Logf("of %d connections with mh %d live on; of %d with rr %d", len(before[0]), mh, len(before[1]), others)
			if mh*100 < len(before[0])*99 {
				t.Errorf("of %d connections %d live on, want 99 %%", len(before[0]), mh)
			}
			if others*2 > len(before[1]) {
				t.Errorf("of %d connections with rr %d live on: the test tells nothing", len(before[1]), others)
			}
		})
	}
}

// living counts the connections that go on.
func living(sessions []*testbed.Session) (n int) {
	for _, err := range useAll(sessions) {
		if err == nil {
			n++
		}
	}
	return n
}

// rebuildAfter builds the bed anew after the test: the other tests need a node where this
// process is.
func rebuildAfter(t *testing.T) {
	t.Cleanup(func() {
		bed.Close()
		if err := prepare(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// runOn makes the node anew and runs kube-ipvs on it, under a name, until the returned
// function is called.
func runOn(t *testing.T, dir, name, mode string) (lose func()) {
	t.Helper()
	if err := bed.RenewNode(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := runAt(t, bed.Node, dir, "--node-name", name, "--cluster-cidr", bed.PodCIDR4.String()+","+bed.PodCIDR6.String(), "--cluster-ip-servers", mode)
	on(t, bed.Node, sloppy)
	return func() {
		if err := d.Kill(); err != nil {
			t.Error(err)
		}
	}
}

// hosted is a kube-ipvs on a host of its own.
type hosted struct {
	testbed.Program
	flags []string
}

// runAt runs kube-ipvs on a host, under its name, and waits until it has programmed the manifests
// of a folder. The test's end kills it.
func runAt(t *testing.T, h *testbed.Host, dir string, flags ...string) *hosted {
	t.Helper()
	flags = append([]string{"--manifests", dir, "--node-name", h.Name}, flags...)
	d := &hosted{testbed.Program{
		Name: "kube-ipvs", File: filepath.Join(t.TempDir(), "log"), Host: h,
		Command: func() *exec.Cmd { return exec.Command(binary, append([]string{"run"}, flags...)...) },
	}, flags}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("kube-ipvs on %s said:\n%s", h.Name, d.Log(100))
		}
	})
	testbed.AwaitReady(t.Context(), d.PID())
	d.settled(t)
	return d
}

// settled waits until "plan" finds no difference between the manifests and the kernel.
func (d *hosted) settled(t *testing.T) {
	t.Helper()
	err := testbed.Await(t.Context(), 20*time.Second, func() error {
		out, err := d.Host.Shell(t.Context(), fmt.Sprintf("%s plan %s", binary, strings.Join(d.flags, " ")))
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
