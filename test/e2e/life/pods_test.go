package life

import (
	"fmt"
	"strings"
	"testing"

	"kube-ipvs/test/e2e"
)

// twenty pods with the readiness probe and the pause before their end that
// docs/operations.md asks for.
var twenty = servers{Name: "many", Namespace: namespace, Image: e2e.LoadImage, Replicas: 20, Version: "1"}

// A node is drained and comes back, and another time all pods are replaced. No request
// fails, and connections end as their server ends them.
func TestPodsMove(t *testing.T) {
	install(t)
	tr := send(t, serve(t, twenty), place{"node2", pod}, place{"node2", host}, place{"node1", outside}, place{"node2", outside})
	t.Run("drain", func(t *testing.T) {
		t.Cleanup(func() { kubectl(t, "uncordon", "node1") })
		kubectl(t, "drain", "node1", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout", patience.String())
		if left := running(t, "node1"); left > 0 {
			t.Errorf("%d of the pods are still on node1", left)
		}
		rollout(t, namespace, "deployment/many")
		tr.flows()
	})
	t.Run("rolling update", func(t *testing.T) {
		next := twenty
		next.Version = "2"
		apply(t, "servers.yaml", next)
		rollout(t, namespace, "deployment/many")
		remains(t, "app=many,version=1")
		if now := running(t, "node1"); now == 0 {
			t.Error("no pod has come back to node1")
		}
	})
	if sum := tr.whole(); sum.Ended == 0 {
		t.Error("no connection has ended: the pods have not moved")
	}
}

// running counts the pods of twenty on a node.
func running(t *testing.T, node string) int {
	t.Helper()
	out := kubectl(t, "-n", namespace, "get", "pods", "-l", "app=many", "--field-selector", fmt.Sprintf("spec.nodeName=%s,status.phase=Running", node), "-o", "name")
	return len(strings.Fields(strings.ReplaceAll(out, "No resources found in life namespace.", "")))
}
