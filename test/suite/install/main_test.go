// Package install plays helm, a cluster and its kubelets with the chart, in the lab:
// it installs the chart into a real API server, and runs its containers from there.
package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/pod"
	"kube-ipvs/test/lib/testbed"
)

var (
	bed     *testbed.Bed
	control *cluster.Cluster
	image   string // the image's files, in memory
	helm    = os.Getenv("KUBE_IPVS_HELM")
	peers   = os.Getenv("KUBE_IPVS_PEERS")
	rootfs  = os.Getenv("KUBE_IPVS_ROOTFS")
)

// patience only costs time when a test fails.
const patience = 90 * time.Second // a lone node takes 50 for an Event

func TestMain(m *testing.M) {
	if err := pod.Become(); err != nil {
		fmt.Fprintln(os.Stderr, "container:", err)
		os.Exit(125)
	}
	testbed.Main(m, "make test-chart", prepare, func() {
		if control != nil {
			_ = control.Close()
		}
		bed.Close()
	})
}

func prepare(ctx context.Context) error {
	for name, path := range map[string]string{
		"KUBE_IPVS_HELM": helm, "KUBE_IPVS_PEERS": filepath.Join(peers, "kube-apiserver"), "KUBE_IPVS_ROOTFS": filepath.Join(rootfs, "kube-ipvs"),
	} {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%s does not say what it should (make test-chart sets it): %w", name, err)
		}
	}
	var err error
	if bed, err = testbed.New(ctx); err != nil {
		return err
	}
	if _, err := bed.Serve(bed.P1, testbed.TargetPort, bed.P1.Name); err != nil {
		return err
	}
	// As the network plugin does: kube-ipvs in its container cannot.
	if _, err := bed.Node.Shell(ctx, "sysctl -qw net.ipv6.conf.all.forwarding=1"); err != nil {
		return err
	}
	image = filepath.Join(os.TempDir(), "image")
	if out, err := exec.CommandContext(ctx, "cp", "-a", rootfs, image).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the image: %w: %s", err, out)
	}
	if control, err = cluster.Start(ctx, bed, cluster.Options{Peers: peers, Host: bed.Ext, Authorization: "RBAC", Audit: true}); err != nil {
		return err
	}
	return errors.Join(control.Nodes(ctx), definitions(ctx), clusterInfo(ctx))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, check func() error) {
	t.Helper()
	must(t, testbed.Await(t.Context(), patience, check))
}
