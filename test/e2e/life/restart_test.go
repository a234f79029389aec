package life

import (
	"fmt"
	"strings"
	"testing"

	"kube-ipvs/test/e2e"
)

// proxy identifies the run of kube-ipvs on a node: a restart has another.
func proxy(t *testing.T, node string) string {
	t.Helper()
	return on(t, node, "cut -d' ' -f22 /proc/$(pgrep -f '^/kube-ipvs run')/stat")
}

// A node ends at once and begins anew, while pods of another node ask each other. They
// notice nothing, and the node then serves as before, with the Services that came
// meanwhile.
func TestNodeReboot(t *testing.T) {
	install(t)
	tr := send(t, serve(t, servers{Name: "web", Replicas: 4, Node: "node2"}), place{"node2", pod}, place{"node2", host}, place{"node2", outside})
	before := proxy(t, "node1")
	must(t, cluster.Reboot(t.Context(), "node1"))
	await(t, "kube-ipvs of node1", func() error {
		_, err := cluster.On(t.Context(), "node1", "curl -sSf -m 20 http://127.0.0.1:10256/readyz")
		return err
	})
	if proxy(t, "node1") == before {
		t.Error("kube-ipvs of node1 still runs")
	}
	program(t, "reboot")
	tr.whole()
	rounds(t, "node1")
}

// rounds fails the test if a write of kube-ipvs on a node failed.
func rounds(t *testing.T, node string) {
	t.Helper()
	name := kubectl(t, "-n", system, "get", "pods", "-l", proxies, "--field-selector", "spec.nodeName="+node, "-o", "name")
	log := kubectl(t, "-n", system, "logs", strings.TrimSpace(name))
	if !strings.Contains(log, "msg=round") {
		t.Errorf("%s: the log has no round:\n%s", node, log)
	}
	for line := range strings.Lines(log) {
		if strings.Contains(line, "msg=round") && !strings.Contains(line, " failed=0 ") || strings.Contains(line, "level=ERROR") {
			t.Errorf("%s: %s", node, line)
		}
	}
}

// The kubelet, and containerd, end at once and begin anew on a node. kube-ipvs goes on there
// as if nothing had been.
func TestKubeletAndContainerdRestart(t *testing.T) {
	install(t)
	tr := send(t, serve(t, servers{Name: "web", Replicas: 4}), everywhere...)
	for _, program := range []string{"kubelet", "containerd"} {
		t.Run(program, func(t *testing.T) {
			before := proxy(t, "node1")
			restart(t, "node1", program)
			changes(t)
			if now := proxy(t, "node1"); now != before {
				t.Error("kube-ipvs was restarted, too")
			}
		})
	}
	tr.whole()
}

// restart ends a program of a node at once, and waits until it runs anew.
func restart(t *testing.T, node, program string) {
	t.Helper()
	const since = "cut -d' ' -f22 /proc/$(pgrep -xo %s)/stat"
	before := on(t, node, since, program)
	on(t, node, "pkill -9 -xo %s", program)
	await(t, program+" to run", func() error {
		now, err := cluster.On(t.Context(), node, fmt.Sprintf(since, program))
		if err == nil && strings.TrimSpace(now) == before {
			err = fmt.Errorf("it has not ended")
		}
		return err
	})
}

// changes waits until a new pod runs on every node, and a new Service leads to it: the
// kubelets and the proxies work.
func changes(t *testing.T) {
	t.Helper()
	s := servers{Name: "fresh", Namespace: namespace, Image: e2e.LoadImage, Replicas: len(nodes)}
	apply(t, "servers.yaml", s)
	rollout(t, namespace, "deployment/fresh")
	ip := kubectl(t, "-n", namespace, "get", "service", "fresh", "-o", "jsonpath={.spec.clusterIP}")
	for _, node := range nodes {
		await(t, "the new Service on "+node, func() error {
			_, err := cluster.On(t.Context(), node, "curl -sSf -m 20 http://"+ip+":8080/")
			return err
		})
	}
	kubectl(t, "-n", namespace, "delete", "service,deployment", "fresh")
	remains(t, "app=fresh")
}

// There is no control plane for a while. Services go on as they are, kube-ipvs stays
// ready, and programs later changes.
func TestControlPlaneAway(t *testing.T) {
	install(t)
	tr := send(t, serve(t, servers{Name: "web", Replicas: 4}), everywhere...)
	before := map[string]string{}
	for _, node := range nodes {
		before[node] = proxy(t, node)
	}
	// All of it, as when its machine ends: a controller-manager alone would take the nodes
	// for lost.
	must(t, cluster.Stop(e2e.ControlPlane...))
	watch(t, *away)
	tr.flows()
	must(t, cluster.StartControlPlane(t.Context()))
	for _, node := range nodes {
		if proxy(t, node) != before[node] {
			t.Errorf("kube-ipvs of %s was restarted", node)
		}
	}
	changes(t)
	tr.whole()
}
