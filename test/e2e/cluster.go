// Package e2e runs a whole Kubernetes cluster on one machine: etcd, kube-apiserver,
// kube-scheduler and kube-controller-manager as processes in a network namespace, and
// nodes, each with containerd, a kubelet and network plugins of its own, in one User-Mode
// Linux kernel, which a tap device joins to them.
//
// test/e2e/play builds what it takes and says in the environment where that is. All
// lives in namespaces that Isolated makes, and ends with its first process.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"kube-ipvs/test/lib/testbed"
)

// Options describe a cluster.
type Options struct {
	Dir       string // where it keeps its files; must not exist
	Nodes     int    // how many, at most 9
	Proxy     string // one of Proxies
	Plugin    string // the network plugin of nodes: ptp or bridge
	DualStack bool   // IPv6 beside IPv4
	Memory    string // of all nodes together, as the kernel takes it: 8G
}

// Proxies are the possible servers of Services: kube-proxy as a program of its own,
// kube-ipvs by its chart, or nothing.
var Proxies = []string{"image", "direct", "iptables", "nftables", "ipvs", "none"}

// Cluster is one that runs, seen from within its network namespace.
type Cluster struct {
	Options
	programs     []*testbed.Program
	client       kubernetes.Interface
	stopBalancer func()
}

// Start starts a cluster, and waits until its nodes are ready and names are resolved.
// It logs each wait. It must be called in the namespaces of Isolated.
func Start(ctx context.Context, o Options, say func(string)) (*Cluster, error) {
	c := &Cluster{Options: o, stopBalancer: func() {}}
	if err := c.start(ctx, say); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, say func(string)) error {
	if err := c.files(); err != nil {
		return err
	}
	if err := c.network(ctx); err != nil {
		return err
	}
	say("starting the control plane, and the nodes' kernel")
	if err := c.startMachine(); err != nil {
		return err
	}
	if err := c.startControlPlane(ctx); err != nil {
		return err
	}
	say("waiting for the nodes")
	if err := c.awaitNodes(ctx); err != nil {
		return err
	}
	say("installing " + c.Proxy + " and CoreDNS")
	if err := c.installProxy(ctx); err != nil {
		return err
	}
	if err := c.installDNS(ctx); err != nil {
		return err
	}
	return c.startBalancer(ctx)
}

// Attach returns the cluster that was started with a folder, whose network namespace
// this process must be in.
func Attach(dir string) (*Cluster, error) {
	c := &Cluster{}
	if err := readJSON(filepath.Join(dir, "options.json"), &c.Options); err != nil {
		return nil, fmt.Errorf("no cluster is up: %w", err)
	}
	return c, c.connect()
}

// Close ends the processes of Start. The files stay.
func (c *Cluster) Close() error {
	c.stopBalancer()
	var errs []error
	for _, p := range c.programs {
		errs = append(errs, p.Kill())
	}
	return errors.Join(errs...)
}

// Client returns a client with all rights.
func (c *Cluster) Client() kubernetes.Interface { return c.client }

// Kubeconfig returns the path of a file by which others have all rights.
func (c *Cluster) Kubeconfig() string { return c.path("conf", "admin", "kubeconfig") }

// Logs returns the folder in which each program has a file.
func (c *Cluster) Logs() string { return c.path("log") }

func (c *Cluster) path(parts ...string) string {
	return filepath.Join(append([]string{c.Dir}, parts...)...)
}

func (c *Cluster) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return err
	}
	config.QPS = -1
	c.client, err = kubernetes.NewForConfig(config)
	return err
}

// names returns those of the nodes.
func (c *Cluster) names() []string {
	var names []string
	for i := range c.Nodes {
		names = append(names, nodeName(i+1))
	}
	return names
}

// files makes the folder and all that programs read from it.
func (c *Cluster) files() error {
	if err := os.MkdirAll(filepath.Dir(c.Dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(c.Dir, 0o755); err != nil {
		return fmt.Errorf("is a cluster up already? %w", err)
	}
	for _, dir := range []string{"conf", "log", "etcd", "machine"} {
		if err := os.Mkdir(c.path(dir), 0o755); err != nil {
			return err
		}
	}
	if err := errors.Join(writeJSON(c.path("options.json"), c.Options), c.credentials(), c.nodeFiles(), c.proxyFiles()); err != nil {
		return err
	}
	return c.connect()
}
