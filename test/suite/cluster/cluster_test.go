// Package cluster tests kube-ipvs with a real control plane, and beside kube-proxy and
// network plugins.
package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

var (
	bed     *testbed.Bed
	control *cluster.Cluster
	binary  = os.Getenv("KUBE_IPVS_BINARY")
	peers   = os.Getenv("KUBE_IPVS_PEERS")
)

// The control plane runs where another machine of the LAN would be, and serves
// all tests: each begins with an empty namespace.
func TestMain(m *testing.M) {
	testbed.Main(m, "make lab-test LAB_PACKAGES=test/suite/cluster", prepare, func() {
		if control != nil {
			_ = control.Close()
		}
		bed.Close()
	})
}

func prepare(ctx context.Context) error {
	if binary == "" {
		return fmt.Errorf("KUBE_IPVS_BINARY does not say which kube-ipvs to test")
	}
	if _, err := os.Stat(filepath.Join(peers, "kube-apiserver")); peers == "" || err != nil {
		return fmt.Errorf("KUBE_IPVS_PEERS=%q is no folder with etcd, kube-apiserver, kube-controller-manager and kube-proxy: test/peers/build builds them and prints it; make lab-test does so", peers)
	}
	var err error
	if bed, err = testbed.New(ctx); err != nil {
		return err
	}
	for _, h := range []*testbed.Host{bed.P1, bed.P2, bed.R1} {
		if _, err := bed.Serve(h, testbed.TargetPort, h.Name); err != nil {
			return err
		}
	}
	// As the network plugin of a real node does: kube-proxy leaves it to that.
	if _, err := bed.Node.Shell(ctx, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"); err != nil {
		return err
	}
	if control, err = cluster.Start(ctx, bed, cluster.Options{Peers: peers, Host: bed.Ext}); err != nil {
		return err
	}
	return control.Nodes(ctx)
}

// begin empties the API and has the test show the control plane's output if it fails.
func begin(t *testing.T) *cluster.Cluster {
	t.Helper()
	must(t, control.Clear(t.Context()))
	sh(t, bed.Node, "conntrack -F 2>&1; conntrack -F -f ipv6 2>&1")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(control.Log(20))
		}
	})
	return control
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sh(t *testing.T, h *testbed.Host, script string) string {
	t.Helper()
	out, err := h.Shell(context.WithoutCancel(t.Context()), script)
	must(t, err)
	return strings.TrimSpace(out)
}

// await waits until a condition holds.
func await(t *testing.T, check func() error) {
	t.Helper()
	must(t, testbed.Await(t.Context(), 30*time.Second, check))
}

// told waits until an Event is as it should be: a lone node takes 50 seconds for a new one at most.
func told(t *testing.T, check func() error) {
	t.Helper()
	must(t, testbed.Await(t.Context(), 90*time.Second, check))
}

// apply makes or changes the objects of a manifest.
func apply(t *testing.T, manifest string) {
	t.Helper()
	must(t, control.Apply(t.Context(), manifest))
}

// reached waits until each frontend answers a client in both families, over TCP
// and UDP, by one of the names, which is an Outcome.
func reached(t *testing.T, from *testbed.Host, frontends []testbed.Frontend, names ...string) {
	t.Helper()
	for _, f := range frontends {
		for _, network := range []string{"tcp", "udp"} {
			for _, four := range []bool{true, false} {
				await(t, func() error { return outcome(t.Context(), from, network, f, four, names) })
			}
		}
	}
}

func outcome(ctx context.Context, from *testbed.Host, network string, f testbed.Frontend, four bool, names []string) error {
	if err := asked(ctx, from, network, f.Addr(four), names); err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	return nil
}

// asked asks once, and wants one of the names or another Outcome.
func asked(ctx context.Context, from *testbed.Host, network string, to netip.AddrPort, names []string) error {
	a, err := from.Ask(ctx, network, to, testbed.From{})
	if got := testbed.Outcome(a, err); !slices.Contains(names, got) {
		return fmt.Errorf("%s from %s to %s: %s, want one of %q", network, from.Name, to, got, names)
	}
	return nil
}

func addr(ip string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), port)
}

// same compares snapshots.
func same(t *testing.T, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the node does not hold the same (- before, + now):\n%s", diff)
	}
}
