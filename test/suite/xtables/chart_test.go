package xtables

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/test/lib/pod"
	"kube-ipvs/test/lib/testbed"
)

// TestChart has the host's iptables write the usual rules of a node's programs. Then
// the chart's two containers start, in the image's files and with their rights, twice.
func TestChart(t *testing.T) {
	root := os.Getenv("KUBE_IPVS_ROOTFS")
	if root == "" {
		t.Skip("KUBE_IPVS_ROOTFS does not say where the files of the image are: make test-xtables")
	}
	image := filepath.Join(t.TempDir(), "image")
	if out, err := exec.Command("cp", "-a", root, image).CombinedOutput(); err != nil {
		t.Fatalf("copy the image: %v: %s", err, out)
	}
	chart, err := pod.ReadChart("../chart/testdata/golden/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	on(t, "sysctl -qw net.ipv6.conf.all.forwarding=1") // the network plugin's business
	for _, variant := range []string{"nft", "legacy"} {
		for _, host := range releases(t, "bionic", "focal", "bullseye", "noble", "sid") {
			if !host.has(variant) {
				continue
			}
			t.Run(fmt.Sprintf("%s/host %s", variant, host), func(t *testing.T) {
				n := newNode(t, host, variant)
				container := func(c corev1.Container) string {
					script, err := chart.Script(t.TempDir(), image, n.dir, c)
					if err != nil {
						t.Fatal(err)
					}
					return script
				}
				first, main := container(chart.Spec.InitContainers[0]), container(chart.Spec.Containers[0])
				for i := range 2 {
					t.Run(fmt.Sprintf("start %d", i), func(t *testing.T) {
						on(t, "%s run --init-only --config /etc/kube-ipvs/config.yaml", first)
						n.watch(t, func() *testbed.Daemon { return n.launch(t, main, "--config", "/etc/kube-ipvs/config.yaml") })
					})
				}
				n.cleanUpBy(t, main)
			})
		}
	}
}
