package e2e

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-ipvs/test/lib/testbed"
)

// ControlPlane are the programs that make it, but for etcd.
var ControlPlane = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"}

const etcd = "http://127.0.0.1:" + etcdPort

// startControlPlane starts its programs, and waits until the API server is ready.
func (c *Cluster) startControlPlane(ctx context.Context) error {
	if err := c.run("etcd", exec.Command(built(peersVariable, "etcd"), "--data-dir", c.path("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls", etcd, "--advertise-client-urls", etcd)); err != nil {
		return err
	}
	return c.StartControlPlane(ctx)
}

// StartControlPlane starts the processes of ControlPlane that Stop ended, which are
// all of them.
func (c *Cluster) StartControlPlane(ctx context.Context) error {
	if err := c.run("kube-apiserver", exec.Command(built(peersVariable, "kube-apiserver"),
		"--etcd-servers", etcd, "--advertise-address", control4, "--secure-port", apiPort,
		"--tls-cert-file", c.cert("apiserver"), "--tls-private-key-file", c.key("apiserver"), "--client-ca-file", c.cert("ca"),
		"--kubelet-client-certificate", c.cert("admin"), "--kubelet-client-key", c.key("admin"), "--kubelet-preferred-address-types=InternalIP",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged",
		"--service-cluster-ip-range", c.families(services4, services6),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file", c.cert("service-accounts"), "--service-account-signing-key-file", c.key("service-accounts"))); err != nil {
		return err
	}
	if err := c.await(ctx, "the API server", 3*time.Minute, c.apiReady); err != nil {
		return err
	}
	manager := c.path("conf", "controller-manager", "kubeconfig")
	if err := c.run("kube-controller-manager", exec.Command(built(peersVariable, "kube-controller-manager"),
		"--kubeconfig", manager, "--authentication-kubeconfig", manager, "--authorization-kubeconfig", manager,
		"--leader-elect=false", "--use-service-account-credentials",
		"--service-account-private-key-file", c.key("service-accounts"), "--root-ca-file", c.cert("ca"),
		"--cluster-signing-cert-file", c.cert("ca"), "--cluster-signing-key-file", c.key("ca"),
		// The nodes share one slow CPU.
		"--node-monitor-grace-period=90s")); err != nil {
		return err
	}
	scheduler := c.path("conf", "scheduler", "kubeconfig")
	return c.run("kube-scheduler", exec.Command(Program("kube-scheduler"),
		"--kubeconfig", scheduler, "--authentication-kubeconfig", scheduler, "--authorization-kubeconfig", scheduler, "--leader-elect=false"))
}

func (c *Cluster) cert(who string) string { return c.path("conf", who, "cert.pem") }
func (c *Cluster) key(who string) string  { return c.path("conf", who, "key.pem") }

func (c *Cluster) apiReady(ctx context.Context) error {
	_, err := c.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	return err
}

// awaitNodes waits until all nodes are ready, and tells them which pods are theirs: the
// plugins know it from their files.
func (c *Cluster) awaitNodes(ctx context.Context) error {
	for _, name := range c.names() {
		if err := c.await(ctx, name+" to be ready", 5*time.Minute, func(ctx context.Context) error { return c.nodeReady(ctx, name, time.Time{}) }); err != nil {
			return fmt.Errorf("%w; it said:\n%s", err, testbed.Tail(c.path("log", name+".log"), 20))
		}
		cidrs := c.podCIDRs(name)
		patch := fmt.Sprintf(`{"spec":{"podCIDR":%q,"podCIDRs":[%s]}}`, cidrs[0], quoted(cidrs))
		if _, err := c.client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// nodeReady fails unless the kubelet of a node has said since a point in time that the
// node is ready.
func (c *Cluster) nodeReady(ctx context.Context, name string, since time.Time) error {
	node, err := c.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		switch {
		case condition.Type != corev1.NodeReady || condition.LastHeartbeatTime.Time.Before(since):
		case condition.Status == corev1.ConditionTrue:
			return nil
		default:
			return errors.New(condition.Message)
		}
	}
	return errors.New("its kubelet has not said that it is ready")
}
