package life

import (
	"strings"
	"testing"
)

// With the clean-up a node has nothing of kube-ipvs any more, when helm uninstall and the
// steps of docs/install.md are done: not in the kernel, and no file.
func TestUninstallLeavesNothing(t *testing.T) {
	uninstall(t)
	files := map[string]string{}
	for _, node := range nodes {
		files[node] = on(t, node, filesOf)
	}
	v := values(t)
	v["cleanup"].(map[string]any)["onUninstall"] = true
	layDesk(t, v, "")
	install := commands(t, "install.md", "The chart")[0]
	repository, tag, _ := strings.Cut(v["image"].(map[string]any)["repository"].(string)+":"+v["image"].(map[string]any)["tag"].(string), ":")
	enter(t, install+" -f values.yaml", "REGISTRY/kube-ipvs", repository, "TAG", tag, "10.0.0.1", "192.168.60.1")
	for _, heading := range []string{"See that it works", "Configuration"} {
		for _, c := range commands(t, "install.md", heading) {
			if enter(t, c) == "" {
				t.Errorf("%s says nothing", c)
			}
		}
	}
	serve(t, servers{Name: "web", Replicas: 2})
	program(t, "before")
	for _, node := range nodes {
		for what, found := range own(t, node) {
			if found == "" {
				t.Errorf("%s has no %s of kube-ipvs: the test looks in the wrong place", node, what)
			}
		}
	}
	for _, c := range commands(t, "install.md", "Upgrade, roll back, uninstall")[2:] {
		enter(t, c)
	}
	gone(t, system, proxies)
	for _, node := range nodes {
		for what, found := range own(t, node) {
			if found != "" {
				t.Errorf("%s still has %s of kube-ipvs:\n%s", node, what, found)
			}
		}
		if now := on(t, node, filesOf); now != files[node] {
			t.Errorf("%s had these files\n%s\nand has\n%s", node, files[node], now)
		}
	}
}

// filesOf lists the files of a node, except for those that containerd and the kubelet
// keep of former pods, and the lock that every iptables makes.
const filesOf = `find /run /etc /opt /var/lib /var/log /tmp -xdev \( -path /run/containerd -o -path /var/lib/containerd -o -path /var/lib/kubelet -o -path /run/netns -o -path /run/xtables.lock -o -path /run/cni -o -path /var/lib/cni -o -path /var/log/pods -o -path /var/log/containers \) -prune -o -print | sort`
