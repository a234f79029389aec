package cluster

import (
	"context"
	"regexp"
	"testing"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// refusal is kube-proxy's message about a kernel that is too old for its mode.
var refusal = regexp.MustCompile("kube-proxy in .* mode requires kernel .* or later")

// kubeProxy is kubeProxyOf the control plane of all tests. Where kube-proxy refuses the
// kernel, the test is skipped.
func kubeProxy(t *testing.T, mode string, more ...string) *testbed.Program {
	t.Helper()
	p, err := kubeProxyOf(t, control, mode, more...)
	if err != nil {
		if why := refusal.FindString(err.Error()); why != "" {
			t.Skip(why)
		}
	}
	must(t, err)
	return p
}

// kubeProxyOf runs kube-proxy until the test ends, and then removes its objects.
func kubeProxyOf(t *testing.T, c *cluster.Cluster, mode string, more ...string) (*testbed.Program, error) {
	t.Helper()
	p, err := c.KubeProxy(t.Context(), mode, more...)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := c.Dismiss(p); err != nil {
			t.Error(err)
		}
		if err := c.Wipe(ctx); err != nil {
			t.Error(err)
		}
	})
	return p, err
}

// kube-proxy works with the lab's control plane, so that faults of kube-ipvs beside it
// are not the lab's.
func TestKubeProxy(t *testing.T) {
	for _, mode := range []string{"iptables", "ipvs"} {
		t.Run(mode, func(t *testing.T) {
			begin(t)
			s := testbed.Service{Name: "web", Number: 1, Type: "NodePort"}
			apply(t, bed.With(s, testbed.Backends(bed.P1)))
			kubeProxy(t, mode)
			for _, from := range []*testbed.Host{bed.C1, bed.Node} {
				reached(t, from, s.Frontends(), "p1")
			}
			reached(t, bed.Ext, s.Outside(), "p1")
		})
	}
}
