// Package wire tests kube-ipvs by packets: the real program on a real kernel, with
// clients that check which endpoint answered and which source address that one saw. It
// runs in the lab.
package wire

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

var (
	bed    *testbed.Bed
	binary = os.Getenv("KUBE_IPVS_BINARY")
)

func TestMain(m *testing.M) {
	testbed.Main(m, "make lab-test LAB_PACKAGES=test/suite/wire", prepare, func() { bed.Close() })
}

// prepare starts the endpoints: pods, and daemons of the nodes that no Service
// may expose.
func prepare(ctx context.Context) (err error) {
	if bed, err = testbed.New(ctx); err != nil {
		return err
	}
	for _, h := range []*testbed.Host{bed.P1, bed.P2, bed.R1} {
		if _, err := bed.Serve(h, 8080, h.Name); err != nil {
			return err
		}
		if err := bed.ServeSCTP(h, 8080, h.Name); err != nil {
			return err
		}
	}
	for _, h := range []*testbed.Host{bed.Node, bed.Node2} {
		if _, err := bed.Serve(h, 2222, "daemon of "+h.Name); err != nil {
			return err
		}
	}
	return nil
}

// start runs the daemon over a fresh folder, and cleans the node up after the test.
func start(t *testing.T, flags ...string) *testbed.Daemon {
	t.Helper()
	return startIn(t, t.TempDir(), flags...)
}

func startIn(t *testing.T, dir string, flags ...string) *testbed.Daemon {
	t.Helper()
	// A client that asked in vain in an earlier test has left a conntrack entry
	// without NAT. Where its port comes up again within two minutes, the request
	// would go the old way, as behind any proxy that works by NAT.
	if _, err := bed.Node.Shell(t.Context(), "conntrack -F 2>&1; conntrack -F -f ipv6 2>&1"); err != nil {
		t.Fatal(err)
	}
	flags = append([]string{"--node-name", "node", "--cluster-cidr", bed.PodCIDR4.String() + "," + bed.PodCIDR6.String()}, flags...)
	d, err := testbed.Start(binary, dir, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			t.Logf("kube-ipvs said:\n%s", d.Log())
		}
		cleanup(t, flags)
	})
	return d
}

// cleanup removes the objects of a daemon with these flags.
func cleanup(t *testing.T, flags []string) {
	t.Helper()
	command := binary + " cleanup"
	if i := slices.Index(flags, "--iptables-backend"); i >= 0 {
		command += " --iptables-backend " + flags[i+1]
	}
	if out, err := bed.Node.Shell(context.WithoutCancel(t.Context()), command); err != nil {
		t.Errorf("cleanup: %v %s", err, out)
	}
}

// put writes a manifest and fails the test if that fails.
func put(t *testing.T, d *testbed.Daemon, name, manifest string) {
	t.Helper()
	if err := d.Put(name, manifest); err != nil {
		t.Fatal(err)
	}
}

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// eventually asks until one of the names answers.
func eventually(t *testing.T, from *testbed.Host, network string, to netip.AddrPort, names ...string) testbed.Answer {
	t.Helper()
	var a testbed.Answer
	err := testbed.Await(t.Context(), 10*time.Second, func() error {
		var err error
		a, err = from.Ask(t.Context(), network, to, testbed.From{})
		got := testbed.Outcome(a, err)
		for _, n := range names {
			if got == n {
				return nil
			}
		}
		return fmt.Errorf("%s from %s to %s: %s, want one of %q", network, from.Name, to, got, names)
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}
