// Package life tests the life of a kube-ipvs on a node: starts, stops, crashes, churn,
// changes by other programs, and that it leaves and hurts nothing in the end.
// iptables, ipset, ip and ipvsadm tell the objects of the kernel, not kube-ipvs. It
// runs in the lab.
package life

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"kube-ipvs/test/lib/pod"
	"kube-ipvs/test/lib/testbed"
)

var binary = os.Getenv("KUBE_IPVS_BINARY")

// patience is how long a condition may take to come true. It is long because
// it only costs time when a test fails.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if err := pod.Become(); err != nil {
		fmt.Fprintln(os.Stderr, "container:", err)
		os.Exit(125)
	}
	testbed.Main(m, "make lab-test LAB_PACKAGES=test/suite/life", prepare, func() {})
}

func prepare(context.Context) error {
	if binary == "" {
		return errors.New("KUBE_IPVS_BINARY does not say which kube-ipvs to test")
	}
	// Most of the time a test waits, with any number of CPUs.
	flag.Parse()
	return flag.Set("test.parallel", "6")
}

// inModes runs a test on a fresh node for each place where the virtual servers
// of ClusterIPs may stand, and each way in which ClusterIPs become the node's own, as
// testbed.Variants has them.
func inModes(t *testing.T, f func(*testing.T, *node)) {
	t.Helper()
	t.Parallel()
	for _, v := range testbed.Variants(t, false) {
		t.Run(v.ClusterIPServers+" "+v.VIPBinding, func(t *testing.T) {
			t.Parallel()
			f(t, newBoundNode(t, v.ClusterIPServers, v.VIPBinding))
		})
	}
}
