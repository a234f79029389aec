package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// other starts a control plane of the test's own beside the shared one, with
// RBAC, and stops it after the test.
func other(t *testing.T) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(t.Context(), bed, cluster.Options{Peers: peers, Host: bed.Node2, Authorization: "RBAC"})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Log(20))
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	must(t, c.Nodes(t.Context()))
	return c
}

// Then, on a control plane that needs no clean-up: many at once.
func TestRightsAndBurst(t *testing.T) {
	testbed.Long(t, "make lab-test LAB_FLAGS=-test.v")
	c := other(t)
	t.Run("rights", func(t *testing.T) { rights(t, c) })
	t.Run("events", func(t *testing.T) { countsUp(t, c) })
	t.Run("burst", func(t *testing.T) { burst(t, c) })
}

// Without the right to read Services, kube-ipvs names verb and resource. The rights of
// a kube-proxy are enough, and it notices when they are given.
func rights(t *testing.T, c *cluster.Cluster) {
	s := testbed.Service{Name: "web", Number: 1}
	must(t, c.Apply(t.Context(), bed.With(s, testbed.Backends(bed.P1))))
	d := startWith(t, c.Kubeconfig(cluster.Guest))
	await(t, func() error {
		log := d.Log()
		for _, word := range []string{"list services", "list endpointslices"} {
			if !strings.Contains(log, word) {
				return fmt.Errorf("the log does not say %q", word)
			}
		}
		return nil
	})
	_, err := c.Client().RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "guest"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:node-proxier"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: cluster.Guest}},
	}, metav1.CreateOptions{})
	must(t, err)
	await(t, func() error {
		return outcome(context.WithoutCancel(t.Context()), bed.C1, "tcp", s.ClusterIP(), true, []string{"p1"})
	})
	settled(t, d)
}
