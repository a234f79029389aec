package life

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kube-ipvs/test/e2e"
)

// The version before is changed for this one and back, by its chart and its image, again
// and again, and no request to a Service fails.
func TestUpgradeAndRollback(t *testing.T) {
	previous := os.Getenv("KUBE_IPVS_PREVIOUS")
	if previous == "" {
		t.Skip("the history that has the version before is not here")
	}
	uninstall(t)
	repository, tag, _ := strings.Cut(e2e.PreviousImage, ":")
	helm(t, "install", "kube-ipvs", filepath.Join(previous, "charts/kube-ipvs"), "-n", system, "-f", cluster.Values(),
		"--set", "image.repository="+repository, "--set", "image.tag="+tag)
	install(t)
	layDesk(t, values(t), "")
	steps := commands(t, "install.md", "Upgrade, roll back, uninstall")
	old := versions(t)
	s := serve(t, servers{Name: "web", Replicas: 4})
	tr := send(t, s, everywhere...)
	rounds := 0
	for ; rounds == 0 || tr.sent() < *requests; rounds++ {
		enter(t, steps[0], "NEW", strings.Split(e2e.KubeIPVSImage, ":")[1])
		rollout(t, system, daemonSet)
		now := versions(t)
		if now == old {
			t.Fatalf("after helm upgrade the version is %s, as before", now)
		}
		program(t, fmt.Sprint("up", rounds))
		enter(t, steps[1])
		rollout(t, system, daemonSet)
		if back := versions(t); back != old {
			t.Errorf("after helm rollback the version is %s, and was %s", back, old)
		}
		program(t, fmt.Sprint("down", rounds))
		if rounds == 0 {
			t.Logf("from %s to %s and back", old, now)
		}
	}
	t.Logf("there and back %d times", rounds)
	tr.whole()
	uninstall(t)
}

// versions returns those of all kube-ipvs, as they say it of themselves.
func versions(t *testing.T) string {
	t.Helper()
	seen := map[string]bool{}
	for _, node := range nodes {
		seen[on(t, node, `curl -sS http://127.0.0.1:10249/metrics | sed -n 's/^kube_ipvs_build_info{\(.*\)}.*/\1/p'`)] = true
	}
	if len(seen) != 1 {
		t.Fatalf("the nodes have %v", seen)
	}
	for v := range seen {
		return v
	}
	return ""
}

// program makes a Service, and waits until every node serves it: changes are programmed.
func program(t *testing.T, name string) {
	t.Helper()
	kubectl(t, "-n", namespace, "create", "service", "clusterip", name, "--tcp=8080")
	defer kubectl(t, "-n", namespace, "delete", "service", name)
	kubectl(t, "-n", namespace, "set", "selector", "service", name, "app=web")
	ip := kubectl(t, "-n", namespace, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}")
	for _, node := range nodes {
		await(t, name+" on "+node, func() error {
			_, err := cluster.On(t.Context(), node, "curl -sSf -m 20 http://"+ip+":8080/")
			return err
		})
	}
}
