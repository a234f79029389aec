package life

import (
	"strings"
	"testing"
)

// helm refuses a release for nodes of another before it creates anything, in any
// namespace. It does not refuse one for other nodes.
func TestSecondRelease(t *testing.T) {
	install(t)
	second := func(args ...string) error {
		_, err := output(cluster.Helm(append([]string{"install", "another", chart, "-f", cluster.Values(), "--dry-run=server"}, args...)...))
		return err
	}
	for _, in := range []string{system, "default"} {
		if err := second("-n", in); err == nil || !strings.Contains(err.Error(), "the release kube-ipvs in the namespace kube-system is for the same nodes") {
			t.Errorf("in the namespace %s: %v", in, err)
		}
	}
	if err := second("-n", system, "--set", "nodeSelector.kubernetes\\.io/os=windows"); err != nil {
		t.Errorf("for other nodes: %v", err)
	}
	helm(t, "upgrade", "kube-ipvs", chart, "-n", system, "-f", cluster.Values())
}
