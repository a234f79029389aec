package cluster

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// neighbour returns the program of another project, from test/neighbours/build.
func neighbour(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(os.Getenv("KUBE_IPVS_NEIGHBOURS"), name)
	if _, err := os.Stat(path); err != nil || path == name {
		t.Skipf("needs %s: set KUBE_IPVS_NEIGHBOURS to the folder that test/neighbours/build prints", name)
	}
	return path
}

// confined makes the Pods p1, p2 and c1, of which c1 may reach nothing but p1, and two
// Services, one of p1 and one of p2.
func confined(t *testing.T) (allowed, other testbed.Service) {
	t.Helper()
	for _, h := range []*testbed.Host{bed.P1, bed.P2, bed.C1} {
		must(t, control.Pod(t.Context(), h, map[string]string{"app": h.Name}))
	}
	target := intstr.FromInt32(testbed.TargetPort)
	policy := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "confine"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "c1"}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
			Egress: []networkingv1.NetworkPolicyEgressRule{{
				To:    []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "p1"}}}},
				Ports: []networkingv1.NetworkPolicyPort{{Port: &target}},
			}},
		},
	}
	api := control.Client().NetworkingV1().NetworkPolicies(cluster.Namespace)
	_, err := api.Create(t.Context(), policy, metav1.CreateOptions{})
	must(t, err)
	t.Cleanup(func() {
		if err := api.Delete(context.WithoutCancel(t.Context()), policy.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	allowed = testbed.Service{Name: "web", Number: 1, Type: "NodePort", Protocols: []string{"TCP"}}
	other = testbed.Service{Name: "other", Number: 2, Type: "NodePort", Protocols: []string{"TCP"}}
	apply(t, bed.With(allowed, testbed.Backends(bed.P1)))
	apply(t, bed.With(other, testbed.Backends(bed.P2)))
	return allowed, other
}

// kept expects the policy to hold for connections by Services, over IPv4.
func kept(t *testing.T, allowed, other testbed.Service) {
	t.Helper()
	for _, f := range allowed.Frontends() {
		await(t, func() error { return asked(t.Context(), bed.C1, "tcp", f.V4, []string{"p1"}) })
	}
	for _, f := range other.Frontends() {
		await(t, func() error { return asked(t.Context(), bed.C1, "tcp", f.V4, keptAway) })
		await(t, func() error { return asked(t.Context(), bed.P1, "tcp", f.V4, []string{"p2"}) })
	}
}

// without returns a PATH with an iptables-restore that leaves out rules with words for
// which the lab's kernel has no module.
func without(t *testing.T, words ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"iptables-restore", "ip6tables-restore"} {
		real := sh(t, bed.Node, "command -v "+name)
		script := "#!/bin/sh\ngrep -v '" + strings.Join(words, `\|`) + "' | exec " + real + " \"$@\"\n"
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	}
	return "PATH=" + dir + ":" + os.Getenv("PATH")
}

// kube-router judges packets of pods, and puts its jump in front of those of kube-ipvs
// with each of its syncs. The policy holds, and allowed connections are served,
// except, with mapped addresses, for a moment of each sync, unless kube-router is told
// of these.
func TestKubeRouter(t *testing.T) {
	path := neighbour(t, "kube-router")
	for name, more := range map[string][]string{
		"image": nil, "direct": {"--service-external-ip-range=252.0.0.0/30"},
		"image that it knows": {"--service-external-ip-range=240.0.0.0/5,248.0.0.0/6,252.0.0.0/30"},
	} {
		t.Run(name, func(t *testing.T) {
			begin(t)
			allowed, other := confined(t)
			servers, _, _ := strings.Cut(name, " ")
			d := start(t, "--cluster-ip-servers", servers)
			settled(t, d)
			kubeRouter(t, path, more...)
			await(t, func() error { // it is at work
				return asked(t.Context(), bed.C1, "tcp", netip.AddrPortFrom(bed.P2.IPv4, testbed.TargetPort), keptAway)
			})
			kept(t, allowed, other)
			failed, n, until, end := 0, 0, answered(d)+2, time.Now().Add(time.Minute)
			for ; answered(d) < until; n++ {
				if time.Now().After(end) {
					t.Fatal("kube-router does not come in front again")
				}
				if asked(t.Context(), bed.C1, "tcp", allowed.ClusterIP().V4, []string{"p1"}) != nil {
					failed++
				}
			}
			t.Logf("%d of %d connections that are allowed failed while kube-router came in front again", failed, n)
			if failed > 0 && name != "image" {
				t.Error("some failed")
			}
			kept(t, allowed, other)
		})
	}
}

// answered counts how often kube-router has been in front.
func answered(d *testbed.Daemon) int {
	return strings.Count(d.Log(), "the jump to KUBE-ROUTER-INPUT stands in front")
}

func kubeRouter(t *testing.T, path string, more ...string) {
	t.Helper()
	args := append([]string{without(t, "physdev", "NFLOG"), path, "--kubeconfig", control.Kubeconfig(cluster.Admin), "--hostname-override", bed.Node.Name,
		"--run-router=false", "--run-service-proxy=false", "--run-firewall=true", "--iptables-sync-period=4s", "--service-cluster-ip-range=" + bed.ServiceCIDR4.String()}, more...)
	p, err := control.Run(t.Context(), bed.Node, "/usr/bin/env", "http://127.0.0.1:20244/healthz", args...)
	untilEnd(t, p, "iptables-save -t filter")
	must(t, err)
}

// untilEnd has a neighbour end with the test. If that fails, it logs the neighbour's
// output, and that of a script on the node.
func untilEnd(t *testing.T, p *testbed.Program, script string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the neighbour said: %s\n%s", p.Log(40), sh(t, bed.Node, script))
		}
		_ = control.Dismiss(p)
		_ = control.Wipe(context.WithoutCancel(t.Context()))
	})
}

// keptAway is how a policy may show.
var keptAway = []string{"refused", "lost", "ICMP port unreachable"}
