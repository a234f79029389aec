package monitoring

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// cluster is two nodes with a daemon each, and the Services of the examples
// and many more.
type cluster struct {
	bed    *testbed.Bed
	folder string // that the node's daemon follows
	tmp    string
}

const fillers = 120 // Services that only fill the cluster

// Their numbers give them addresses that no example has.
var (
	churning = testbed.Service{Name: "churning", Number: 5, Type: "LoadBalancer"}
	drained  = testbed.Service{Name: "drained", Number: 6, Protocols: []string{"TCP"}, Annotations: `kube-ipvs/max-connections: "100"`}
	far      = testbed.Service{Name: "far", Number: 7, Type: "LoadBalancer", Protocols: []string{"TCP"}, Spec: []string{"externalTrafficPolicy: Local"}}
)

// newCluster writes the files that the daemons follow; none runs yet.
func newCluster(t *testing.T, bed *testbed.Bed) *cluster {
	t.Helper()
	c := &cluster{bed: bed, folder: t.TempDir(), tmp: t.TempDir()}
	for _, h := range []*testbed.Host{bed.P1, bed.P2, bed.R1} {
		if _, err := bed.Serve(h, testbed.TargetPort, h.Name); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob("../../../examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c.put(t, filepath.Base(file), string(text))
	}
	var all strings.Builder
	for i := range fillers {
		all.WriteString(bed.With(testbed.Service{Name: fmt.Sprintf("filler-%d", i), Number: 13 + i, Protocols: []string{"TCP"}}, testbed.Backends(bed.P1, bed.R1)))
	}
	c.put(t, "fillers.yaml", all.String())
	c.put(t, "churning.yaml", bed.With(churning, testbed.Backends(bed.P1, bed.P2)))
	c.put(t, "drained.yaml", bed.With(drained, testbed.Backends(bed.P1, bed.P2)))
	c.put(t, "far.yaml", bed.With(far, testbed.Backends(bed.R1)))
	return c
}

func (c *cluster) put(t *testing.T, name, manifest string) {
	t.Helper()
	if err := testbed.Put(c.folder, name, manifest); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) shell(t *testing.T, script string) {
	t.Helper()
	if out, err := c.bed.Node.Shell(t.Context(), script); err != nil {
		t.Fatalf("%v %s", err, out)
	}
}

// begin starts the daemons, each with the virtual servers of ClusterIPs elsewhere.
func (c *cluster) begin(t *testing.T) {
	t.Helper()
	flags := []string{"--cluster-cidr", c.bed.PodCIDR4.String() + "," + c.bed.PodCIDR6.String(), "--conntrack-max-per-core", "0", "--metrics-bind-address", "0.0.0.0:10249"}
	binary := os.Getenv("KUBE_IPVS_BINARY")
	first, err := testbed.Start(binary, c.folder, append(flags, "--node-name", "node", "--cluster-ip-servers", "direct", "--traffic-metrics", "endpoint", "--audit-period", "1s", "--drain-timeout", "10m")...)
	if err != nil {
		t.Fatal(err)
	}
	c.follow(t, first)
	inNode2 := filepath.Join(c.tmp, "kube-ipvs-on-node2")
	if err := os.WriteFile(inNode2, []byte("#!/bin/sh\nexec ip netns exec node2 "+binary+" \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(c.tmp, "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(kubeconfigOf(serveAPI(t, c))), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := testbed.Run(inNode2, append(flags, "--node-name", "node2", "--cluster-ip-servers", "image", "--traffic-metrics", "service", "--kubeconfig", kubeconfig)...)
	if err != nil {
		t.Fatal(err)
	}
	c.follow(t, second)
}

func (c *cluster) follow(t *testing.T, d *testbed.Daemon) {
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			t.Logf("kube-ipvs said:\n%s", d.Log())
		}
	})
}

// traffic keeps asking Services, those that answer and those that cannot, and
// the daemon for its health.
func (c *cluster) traffic(t *testing.T) {
	ask := func(from *testbed.Host, network string, to netip.AddrPort) {
		begins(t, 100*time.Millisecond, func(ctx context.Context, _ int) {
			_, _ = from.Ask(ctx, network, to, testbed.From{Patience: 300 * time.Millisecond}) // the kernel counts refused packets
		})
	}
	ap := netip.MustParseAddrPort
	ask(c.bed.C1, "tcp", ap("10.96.0.80:80")) // web
	ask(c.bed.C1, "udp", ap("10.96.0.53:53")) // dns
	ask(c.bed.Ext, "tcp", ap("192.168.50.200:80"))
	ask(c.bed.C1, "tcp", ap("10.96.0.40:80")) // archive: it has no endpoints
	ask(c.bed.RC, "tcp", ap("10.96.0.40:80"))
	ask(c.bed.Ext, "tcp", far.LoadBalancer().V4)
	ask(c.bed.C1, "udp", churning.ClusterIP().V4)
	for _, page := range []string{"healthz", "livez"} {
		begins(t, 300*time.Millisecond, func(ctx context.Context, _ int) {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:10256/"+page, nil)
			if err != nil {
				return
			}
			if answer, err := http.DefaultClient.Do(r); err == nil {
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
			}
		})
	}
	// Endpoints come and go, and with them flows that are to be forgotten.
	begins(t, 400*time.Millisecond, func(_ context.Context, n int) {
		backends := testbed.Backends(c.bed.P1, c.bed.P2)[n%2 : n%2+1]
		changed := `metadata: {annotations: {endpoints.kubernetes.io/last-change-trigger-time: "` + time.Now().UTC().Format(time.RFC3339Nano) + `"}, name: churning-`
		_ = testbed.Put(c.folder, "churning.yaml", strings.ReplaceAll(c.bed.With(churning, backends), "metadata: {name: churning-", changed))
	})
}

// trouble has an endpoint drain, a Service blocked and entries taken away, for
// the rest of the test.
func (c *cluster) trouble(t *testing.T) {
	t.Helper()
	s, err := c.bed.C1.Dial(t.Context(), "tcp", drained.ClusterIP().V4, testbed.From{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	stays := map[string]*testbed.Host{"p1": c.bed.P2, "p2": c.bed.P1}[s.First.Name]
	c.put(t, "drained.yaml", c.bed.With(drained, testbed.Backends(stays)))
	blocked := testbed.Service{Name: "blocked-too", Number: 10, Protocols: []string{"TCP"}}
	c.shell(t, "ipvsadm -A -t "+blocked.ClusterIP().V4.String()+" -s rr")
	c.put(t, "blocked-too.yaml", c.bed.With(blocked, testbed.Backends(c.bed.P1)))
	begins(t, 2*time.Second, func(ctx context.Context, _ int) {
		_, _ = c.bed.Node.Shell(ctx, "ipset -exist del KIPVS-ALL 10.96.0.81,tcp:80") // audits put it back
	})
}
