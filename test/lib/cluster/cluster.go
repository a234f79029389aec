// Package cluster runs the real control plane in the lab, for a kube-ipvs or a
// kube-proxy on the node of a testbed: etcd, kube-apiserver and, where a test
// asks for it, kube-controller-manager. Its data lies in memory.
//
// The programs come from test/peers/build. It needs root and must run where
// nothing else lives: in the lab.
package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"kube-ipvs/test/lib/testbed"
)

// patience is how long a program may take to get ready: in a slow lab
// kube-apiserver takes fifteen seconds.
const patience = 2 * time.Minute

const (
	etcdPort = 2379
	peerPort = 2380
	apiPort  = 6443
)

// Users of the API server. An admin may do everything; with the authorization
// mode RBAC a guest may do nothing.
const (
	Admin = "admin"
	Guest = "guest"
)

// Cluster is a control plane.
type Cluster struct {
	Etcd, API  *testbed.Program
	bed        *testbed.Bed
	host       *testbed.Host
	peers, dir string
	more       []*testbed.Program
	http       *http.Client
	client     kubernetes.Interface
}

// Options say how a control plane is to run.
type Options struct {
	Peers         string        // folder of the programs, from test/peers/build
	Host          *testbed.Host // where it runs; one control plane a host
	Authorization string        // AlwaysAllow if empty, or RBAC
	Audit         bool          // requests are recorded: see Requests
	Gates         string        // feature gates of the API server, as NAME=true,…; none if empty
}

// Cut keeps the bed's node from reaching the API server, and resets open connections
// at their next packet, until the returned function is called.
func (c *Cluster) Cut(ctx context.Context) (mend func() error, err error) {
	rule := fmt.Sprintf("INPUT -p tcp -s %s --dport %d -j REJECT --reject-with tcp-reset", c.bed.Node.IPv4, apiPort)
	_, err = c.host.Shell(ctx, "iptables -I "+rule)
	return func() error {
		_, err := c.host.Shell(context.WithoutCancel(ctx), "iptables -D "+rule)
		return err
	}, err
}

// Start starts etcd and kube-apiserver on a host of the bed, reachable from all
// of it at the host's IPv4 address, and waits until Services can be made.
func Start(ctx context.Context, bed *testbed.Bed, o Options) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "cluster-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{bed: bed, host: o.Host, peers: o.Peers, dir: dir}
	if err := c.files(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.Etcd = c.etcd()
	c.API = c.apiserver(o)
	if err := c.begin(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) begin(ctx context.Context) error {
	config := c.Config(Admin)
	var err error
	if c.http, err = rest.HTTPClientFor(config); err != nil {
		return err
	}
	if c.client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if err := c.StartEtcd(ctx); err != nil {
		return err
	}
	if err := c.StartAPI(ctx); err != nil {
		return err
	}
	return c.usable(ctx)
}

// StartEtcd starts etcd after it has ended, and waits until it is ready.
func (c *Cluster) StartEtcd(ctx context.Context) error {
	if err := c.Etcd.Start(); err != nil {
		return err
	}
	return Ready(ctx, c.Etcd, http.DefaultClient, c.etcdURL()+"/readyz")
}

// StartAPI starts kube-apiserver after it has ended, and waits until it is ready.
func (c *Cluster) StartAPI(ctx context.Context) error {
	if err := c.API.Start(); err != nil {
		return err
	}
	return Ready(ctx, c.API, c.http, c.server()+"/readyz")
}

// Close ends everything and removes the data.
func (c *Cluster) Close() error {
	var errs []error
	for _, p := range append(c.more, c.API, c.Etcd) {
		if p != nil {
			errs = append(errs, p.Kill())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// Log returns the last lines of the output of each program.
func (c *Cluster) Log(lines int) string {
	var out strings.Builder
	for _, p := range append([]*testbed.Program{c.Etcd, c.API}, c.more...) {
		fmt.Fprintf(&out, "%s said:\n%s\n", p.Name, p.Log(lines))
	}
	return out.String()
}

// Client returns a client with all rights and no limit of its own.
func (c *Cluster) Client() kubernetes.Interface { return c.client }

// Config returns how to reach the API server as a user from its own host, past
// the network that is under test.
func (c *Cluster) Config(user string) *rest.Config {
	return &rest.Config{
		Host: c.server(), BearerToken: token(user), QPS: -1, Dial: c.host.DialContext,
		TLSClientConfig: rest.TLSClientConfig{Insecure: true}, WarningHandler: rest.NoWarnings{},
		ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeProtobuf},
	}
}

// Kubeconfig returns the path of a file that says how others reach it.
func (c *Cluster) Kubeconfig(user string) string {
	return filepath.Join(c.dir, user+".kubeconfig")
}

func token(user string) string { return user + "-token" }

func (c *Cluster) server() string  { return fmt.Sprintf("https://%s:%d", c.host.IPv4, apiPort) }
func (c *Cluster) etcdURL() string { return fmt.Sprintf("http://%s:%d", c.host.IPv4, etcdPort) }

// files writes the files that the programs read.
func (c *Cluster) files() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	content := map[string]string{
		auditPolicyFile: auditPolicy,
		"key.pem":       string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})),
		"tokens.csv":    fmt.Sprintf("%s,%s,1,system:masters\n%s,%s,2\n", token(Admin), Admin, token(Guest), Guest),
	}
	for _, user := range []string{Admin, Guest} {
		content[filepath.Base(c.Kubeconfig(user))] = fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: lab
contexts: [{name: lab, context: {cluster: lab, user: %[2]s}}]
clusters: [{name: lab, cluster: {server: %[1]q, insecure-skip-tls-verify: true}}]
users: [{name: %[2]s, user: {token: %[3]s}}]
`, c.server(), user, token(user))
	}
	for name, text := range content {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}
