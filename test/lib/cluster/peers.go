package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/test/lib/testbed"
)

// KubeProxyVersion asks the kube-proxy in a folder that test/peers/build has made
// for its version, such as v1.37.2.
func KubeProxyVersion(ctx context.Context, peers string) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(peers, "kube-proxy"), "--version").Output()
	version, ok := strings.CutPrefix(strings.TrimSpace(string(out)), "Kubernetes ")
	if err == nil && !ok {
		err = fmt.Errorf("kube-proxy --version printed %q", out)
	}
	return version, err
}

// program describes a program on a host; it does not start it.
func (c *Cluster) program(h *testbed.Host, path string, args ...string) *testbed.Program {
	name := filepath.Base(path)
	return &testbed.Program{Name: name, Host: h, File: filepath.Join(c.dir, h.Name+"-"+name+".log"),
		Command: func() *exec.Cmd { return exec.Command(path, args...) }}
}

func (c *Cluster) etcd() *testbed.Program {
	peer := fmt.Sprintf("http://127.0.0.1:%d", peerPort)
	return c.program(c.host, c.Peer("etcd"), "--name=lab", "--data-dir="+filepath.Join(c.dir, "etcd"),
		"--listen-client-urls="+c.etcdURL(), "--advertise-client-urls="+c.etcdURL(),
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=lab="+peer,
		"--unsafe-no-fsync", "--log-level=warn", "--quota-backend-bytes=4294967296")
}

// Compaction is left to the tests, and so is the life of endpoints.
func (c *Cluster) apiserver(o Options) *testbed.Program {
	mode := o.Authorization
	if mode == "" {
		mode = "AlwaysAllow"
	}
	key := filepath.Join(c.dir, "key.pem")
	var more []string
	if o.Gates != "" {
		more = append(more, "--feature-gates="+o.Gates)
	}
	if o.Audit {
		more = append(more, "--audit-policy-file="+filepath.Join(c.dir, auditPolicyFile), "--audit-log-path="+c.auditLog())
	}
	return c.program(c.host, c.Peer("kube-apiserver"), append(more,
		"--etcd-servers="+c.etcdURL(), "--etcd-compaction-interval=0",
		"--bind-address="+c.host.IPv4.String(), "--advertise-address="+c.host.IPv4.String(), fmt.Sprintf("--secure-port=%d", apiPort),
		"--cert-dir="+filepath.Join(c.dir, "certs"), "--token-auth-file="+filepath.Join(c.dir, "tokens.csv"), "--authorization-mode="+mode,
		"--service-cluster-ip-range="+c.bed.ServiceCIDR4.String()+","+c.bed.ServiceCIDR6.String(),
		"--service-account-issuer=https://lab.example", "--service-account-key-file="+key, "--service-account-signing-key-file="+key,
		"--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none", "--enable-priority-and-fairness=false", "--allow-privileged=true")...)
}

// Controllers starts kube-controller-manager with some of its controllers.
func (c *Cluster) Controllers(ctx context.Context, names ...string) (*testbed.Program, error) {
	const port = 10257
	p := c.program(c.host, c.Peer("kube-controller-manager"), "--kubeconfig="+c.Kubeconfig(Admin), "--controllers="+strings.Join(names, ","),
		"--leader-elect=false", "--bind-address="+c.host.IPv4.String(), fmt.Sprintf("--secure-port=%d", port),
		"--cert-dir="+filepath.Join(c.dir, "certs"), "--authorization-always-allow-paths=/healthz")
	c.more = append(c.more, p)
	if err := p.Start(); err != nil {
		return nil, err
	}
	return p, Ready(ctx, p, c.http, fmt.Sprintf("https://%s:%d/healthz", c.host.IPv4, port))
}

// KubeProxy starts kube-proxy on the bed's node, in the mode iptables, nftables or
// ipvs, and waits until it has programmed the objects of the API. The Node must exist:
// see Nodes. Stop leaves the node programmed; see Wipe.
func (c *Cluster) KubeProxy(ctx context.Context, mode string, more ...string) (*testbed.Program, error) {
	return c.Run(ctx, c.bed.Node, c.Peer("kube-proxy"), "http://127.0.0.1:10256/healthz", append(more, "--kubeconfig="+c.Kubeconfig(Admin), "--hostname-override="+c.bed.Node.Name,
		"--cluster-cidr="+c.bed.PodCIDR4.String()+","+c.bed.PodCIDR6.String(), "--proxy-mode="+mode, "--conntrack-max-per-core=0",
		"--healthz-bind-address=127.0.0.1:10256", "--metrics-bind-address=127.0.0.1:10249")...)
}

// Peer returns the path of a program of the peers.
func (c *Cluster) Peer(name string) string { return filepath.Join(c.peers, name) }

// Run starts a program on a host, and waits until a GET of ready from there is
// answered by 200. Dismiss or Close ends it.
func (c *Cluster) Run(ctx context.Context, h *testbed.Host, path, ready string, args ...string) (*testbed.Program, error) {
	p, err := c.Launch(h, path, args...)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DialContext: h.DialContext, DisableKeepAlives: true}
	return p, Ready(ctx, p, &http.Client{Transport: transport}, ready)
}

// Launch starts a program on a host, and waits for nothing. Dismiss or Close ends it.
func (c *Cluster) Launch(h *testbed.Host, path string, args ...string) (*testbed.Program, error) {
	p := c.program(h, path, args...)
	if err := p.Start(); err != nil {
		return nil, err
	}
	c.more = append(c.more, p)
	return p, nil
}

// Dismiss ends a program of Controllers, KubeProxy, Run or Launch. Its log goes with the next
// of the same name.
func (c *Cluster) Dismiss(p *testbed.Program) error {
	c.more = slices.DeleteFunc(c.more, func(q *testbed.Program) bool { return q == p })
	if p == nil || !p.Runs() {
		return nil
	}
	return p.Stop()
}

// Wipe removes from the bed's node the objects of all proxies, and the kernel's memory
// of connections.
func (c *Cluster) Wipe(ctx context.Context) error { return c.WipeHost(ctx, c.bed.Node) }

// WipeHost is Wipe for any host. "kube-proxy --cleanup" is of no use: it
// fails after the mode ipvs, since it deletes chains that others still name.
func (c *Cluster) WipeHost(ctx context.Context, h *testbed.Host) error {
	_, err := h.Shell(ctx, `nft flush ruleset
ipvsadm -C
ipset destroy
ip link del kube-ipvs0 2>/dev/null || true
for f in -4 -6; do
  ip $f -o route show table local proto 77 | while read -r route; do ip $f route del $route table local proto 77; done
done
sysctl -qw net.ipv4.conf.all.route_localnet=0
conntrack -F 2>&1
conntrack -F -f ipv6 2>&1`)
	return err
}

// Nodes makes the Nodes of the bed.
func (c *Cluster) Nodes(ctx context.Context) error {
	for _, h := range []*testbed.Host{c.bed.Node, c.bed.Node2} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: h.Name}}
		n, err := c.client.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: h.IPv4.String()}, {Type: corev1.NodeInternalIP, Address: h.IPv6.String()}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		if _, err := c.client.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// SetZone has the Node of a host be in a zone, or in none if it is empty.
func (c *Cluster) SetZone(ctx context.Context, h *testbed.Host, zone string) error {
	value := "null"
	if zone != "" {
		value = strconv.Quote(zone)
	}
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%s}}}`, corev1.LabelTopologyZone, value)
	_, err := c.client.CoreV1().Nodes().Patch(ctx, h.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// Compact has etcd forget every revision but the last: a watch from an older one
// is told that it is gone.
func (c *Cluster) Compact(ctx context.Context) error {
	var now struct {
		Header struct {
			Revision string `json:"revision"`
		} `json:"header"`
	}
	if err := c.ask(ctx, "range", map[string]any{"key": []byte("x")}, &now); err != nil {
		return err
	}
	return c.ask(ctx, "compaction", map[string]any{"revision": now.Header.Revision, "physical": true}, &now)
}

// ask calls etcd by its HTTP gateway.
func (c *Cluster) ask(ctx context.Context, what string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.etcdURL()+"/v3/kv/"+what, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("etcd: %s: %s", what, r.Status)
	}
	return json.NewDecoder(r.Body).Decode(answer)
}
