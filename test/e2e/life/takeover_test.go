package life

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"kube-ipvs/test/e2e"
)

// kube-ipvs takes the place of a kube-proxy that runs as kubeadm has it, by the steps of
// docs/migrate.md, and gives it back, and no request to a Service fails.
func TestTakeoverAndBack(t *testing.T) {
	for _, mode := range []string{"iptables", "nftables"} {
		t.Run(mode, func(t *testing.T) {
			tr := kubeProxy(t, mode)
			takeOver(t)
			if mode == "iptables" {
				await(t, "requests", func() error {
					if n := tr.sent(); n < *requests {
						return fmt.Errorf("%d so far", n)
					}
					return nil
				})
			}
			tr.whole()
			back(t, tr)
		})
	}
	t.Run("ipvs", func(t *testing.T) {
		tr := kubeProxy(t, "ipvs")
		takeOver(t)
		tr.whole()
		uninstall(t)
	})
}

// kube-ipvs takes the place of kube-proxy on one node after the other.
func TestSomeNodesFirst(t *testing.T) {
	tr := kubeProxy(t, "iptables")
	t.Cleanup(func() {
		uninstall(t)
		kubectl(t, "label", "nodes", "--all", "kube-ipvs-")
	})
	prepare(t)
	steps, all := commands(t, "migrate.md", "Some nodes first"), commands(t, "migrate.md", "kubeadm")
	enter(t, steps[0])
	rollout(t, system, "daemonset/kube-proxy")
	enter(t, steps[1]+" --set apiServers.auto=true")
	for i, node := range nodes {
		for _, c := range steps[2:4] {
			enter(t, c, "NODE", node)
		}
		await(t, "kube-ipvs on "+node, func() error {
			_, err := output(cluster.Kubectl("-n", system, "wait", "--for=condition=Ready", "pod", "-l", proxies, "--field-selector", "spec.nodeName="+node, "--timeout=10s"))
			return err
		})
		if ready := kubectl(t, "-n", system, "get", daemonSet, "-o", "jsonpath={.status.desiredNumberScheduled}"); ready != fmt.Sprint(i+1) {
			t.Errorf("with the label on %d nodes kube-ipvs is on %s", i+1, ready)
		}
		tr.flows()
	}
	enter(t, all[1])
	enter(t, all[2])
	enter(t, steps[4]+" --set apiServers.auto=true")
	rollout(t, system, daemonSet)
	tr.whole()
}

// kubeProxy has the cluster served by kube-proxy, and begins to ask a Service.
func kubeProxy(t *testing.T, mode string) *traffic {
	t.Helper()
	uninstall(t)
	apply(t, "kube-proxy.yaml", map[string]any{"Mode": mode, "Image": e2e.KubeProxyImage})
	t.Cleanup(func() { removeKubeProxy(t) })
	rollout(t, system, "daemonset/kube-proxy")
	rollout(t, system, "deployment/coredns")
	return send(t, serve(t, servers{Name: "web", Replicas: 4}), everywhere...)
}

// removeKubeProxy leaves nothing of it on the nodes.
func removeKubeProxy(t *testing.T) {
	kubectl(t, "-n", system, "delete", "daemonset,configmap", "kube-proxy", "--wait")
	gone(t, system, "k8s-app=kube-proxy")
	for _, node := range nodes {
		// Virtual servers of mode ipvs that drained stay when kube-ipvs goes before they have.
		on(t, node, "/mnt/peers/kube-proxy --cleanup; ipvsadm -C")
	}
}

// takeOver follows docs/migrate.md from kube-proxy to kube-ipvs.
func takeOver(t *testing.T) {
	t.Helper()
	prepare(t)
	for _, c := range commands(t, "migrate.md", "Before") {
		if strings.HasPrefix(c, "helm ") {
			c += " --set apiServers.auto=true" // which the page says below
		}
		enter(t, c)
	}
	for _, c := range commands(t, "migrate.md", "kubeadm") {
		enter(t, c)
	}
	for _, c := range commands(t, "migrate.md", "Then") {
		if said := enter(t, c); strings.Contains(c, "state") && !strings.Contains(said, "life/web:http") {
			t.Errorf("%s says\n%s", c, said)
		}
	}
	for _, node := range nodes {
		// Connections to node ports of mode ipvs go on, by virtual servers of those sets.
		if left := on(t, node, "iptables-save | grep -E 'KUBE-(SVC|SEP|SERVICES)'; nft list tables | grep kube-proxy; ipset list -n | grep KUBE | grep -v -e -NODE-PORT-; true"); left != "" {
			t.Errorf("%s still has of kube-proxy\n%s", node, left)
		}
		program(t, "after")
	}
}

// prepare makes the files that docs/migrate.md asks for first: values.yaml, of
// kube-proxy's configuration.
func prepare(t *testing.T) {
	t.Helper()
	config := kubectl(t, "-n", system, "get", "configmap", "kube-proxy", "-o", `jsonpath={.data.config\.conf}`)
	v := values(t)
	var theirs map[string]any
	must(t, yaml.Unmarshal([]byte(config), &theirs))
	// As the page says: fields that contradict the chart go.
	delete(theirs, "mode")
	v["kubeProxyConfiguration"] = theirs
	layDesk(t, v, config)
}

// back follows docs/migrate.md from kube-ipvs to kube-proxy.
func back(t *testing.T, tr *traffic) {
	t.Helper()
	for _, node := range nodes {
		for what, found := range own(t, node) {
			if found == "" {
				t.Errorf("%s has no %s of kube-ipvs: the test looks in the wrong place", node, what)
			}
		}
	}
	steps := commands(t, "migrate.md", "Back")
	enter(t, steps[0])
	gone(t, system, proxies)
	kubectl(t, "-n", system, "patch", "daemonset", "kube-proxy", "--type", "merge", "-p", `{"spec":{"template":{"spec":{"nodeSelector":{"kube-proxy":null}}}}}`)
	rollout(t, system, "daemonset/kube-proxy")
	for _, c := range steps[1:] {
		enter(t, c)
	}
	tr.whole()
	for _, node := range nodes {
		for what, found := range own(t, node) {
			if found != "" {
				t.Errorf("%s still has %s of kube-ipvs:\n%s", node, what, found)
			}
		}
	}
}

// own returns the objects of kube-ipvs on a node, by kind.
func own(t *testing.T, node string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for what, script := range map[string]string{
		"virtual servers":    "ipvsadm -Sn",
		"a device":           "ip -o link | grep kube-ipvs0",
		"routes":             "ip route show table all proto 77; ip -6 route show table all proto 77",
		"ipsets":             "ipset list -n | grep KIPVS",
		"rules":              "iptables-save | grep KIPVS; ip6tables-save | grep KIPVS",
		"tables of nftables": "nft list tables | grep kube-ipvs",
	} {
		out[what] = on(t, node, "{ %s; } || true", script)
	}
	return out
}
