package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"kube-ipvs/test/lib/testbed"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	namespace = "kube-system"
	release   = "kube-ipvs"
)

func (c *Cluster) byChart() bool { return c.Proxy == "image" || c.Proxy == "direct" }

// proxyFiles writes the proxy's configuration: values of the chart, or kube-proxy's
// file and the script that nodes keep running.
func (c *Cluster) proxyFiles() error {
	switch {
	case !slices.Contains(Proxies, c.Proxy):
		return fmt.Errorf("no proxy %q: it is one of %s", c.Proxy, strings.Join(Proxies, ", "))
	case c.Proxy == "none":
		return c.values("image")
	case c.byChart():
		return c.values(c.Proxy)
	}
	if err := c.render("kube-proxy.yaml", c.path("conf", "kube-proxy.yaml"), map[string]any{"Mode": c.Proxy, "PodCIDR": c.families(podCIDR4, podCIDR6)}); err != nil {
		return err
	}
	script := "#!/bin/sh\nexec /mnt/peers/kube-proxy --config /mnt/cluster/conf/kube-proxy.yaml --hostname-override \"$1\"\n"
	return testbed.WriteScript(c.path("conf", "proxy"), script)
}

// values writes those of the chart.
func (c *Cluster) values(servers string) error {
	repository, tag, _ := strings.Cut(KubeIPVSImage, ":")
	return c.render("values.yaml", c.Values(), map[string]any{
		"Repository": repository, "Tag": tag, "API": apiAddress(), "PodCIDR": c.families(podCIDR4, podCIDR6), "Servers": servers})
}

// Values returns the path of the chart's values for this cluster.
func (c *Cluster) Values() string { return c.path("conf", "values.yaml") }

// installProxy installs the chart as docs/install.md says, and waits until the proxy is
// ready on every node.
func (c *Cluster) installProxy(ctx context.Context) error {
	if c.byChart() {
		cmd := c.Helm("install", release, os.Getenv(chartVariable), "--namespace", namespace, "--values", c.Values())
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("helm install: %w: %s", err, out)
		}
		return c.await(ctx, "the DaemonSet "+release, 4*time.Minute, func(ctx context.Context) error {
			set, err := c.client.AppsV1().DaemonSets(namespace).Get(ctx, release, metav1.GetOptions{})
			if err == nil && int(set.Status.NumberReady) != c.Nodes {
				err = fmt.Errorf("%d of %d pods are ready", set.Status.NumberReady, c.Nodes)
			}
			return err
		})
	}
	if c.Proxy == "none" {
		return nil
	}
	for _, name := range c.names() {
		if err := c.await(ctx, "kube-proxy of "+name, 2*time.Minute, func(ctx context.Context) error {
			_, err := c.On(ctx, name, "curl -sSf -m 5 http://127.0.0.1:10256/healthz")
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// installDNS installs CoreDNS, and waits until it is ready where there is a proxy: it
// reaches the API server by a Service.
func (c *Cluster) installDNS(ctx context.Context) error {
	path := c.path("conf", "coredns.yaml")
	if err := c.render("coredns.yaml", path, map[string]any{"Image": CoreDNSImage, "Address": dnsService4}); err != nil {
		return err
	}
	if out, err := c.Kubectl("apply", "-f", path).CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl apply: %w: %s", err, out)
	}
	if c.Proxy == "none" {
		return nil
	}
	return c.await(ctx, "the Deployment coredns", 4*time.Minute, func(ctx context.Context) error {
		d, err := c.client.AppsV1().Deployments(namespace).Get(ctx, "coredns", metav1.GetOptions{})
		if err == nil && !available(d) {
			err = fmt.Errorf("%d of %d pods are available", d.Status.AvailableReplicas, d.Status.Replicas)
		}
		return err
	})
}

func available(d *appsv1.Deployment) bool {
	return d.Status.ObservedGeneration >= d.Generation && d.Status.AvailableReplicas == *d.Spec.Replicas
}

// Kubectl returns a command that has all rights.
func (c *Cluster) Kubectl(args ...string) *exec.Cmd { return c.command(Program("kubectl"), args) }

// Helm returns a command that has all rights.
func (c *Cluster) Helm(args ...string) *exec.Cmd { return c.command(os.Getenv(helmVariable), args) }

func (c *Cluster) command(path string, args []string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
	return cmd
}
