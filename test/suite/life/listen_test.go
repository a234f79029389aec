package life

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const probed = `
kind: Service
apiVersion: v1
metadata: {name: probed, namespace: default}
spec:
  type: LoadBalancer
  clusterIPs: [10.96.0.40]
  externalTrafficPolicy: Local
  healthCheckNodePort: 32100
  ports: [{port: 80, nodePort: 32101}]
`

// listeners returns the sockets of the node at which a program listens: protocol and address.
func (n *node) listeners() (all []string) {
	n.t.Helper()
	for line := range strings.Lines(n.sh("ss -H -lntu; ss -H -lx")) {
		if f := strings.Fields(line); len(f) > 4 {
			all = append(all, f[0]+" "+f[4])
		}
	}
	slices.Sort(all)
	return all
}

func (n *node) listens(want ...string) {
	n.t.Helper()
	slices.Sort(want)
	n.await(func() error {
		if got := n.listeners(); !slices.Equal(got, want) {
			return fmt.Errorf("it listens at %q, want %q", got, want)
		}
		return nil
	})
}

// The daemon listens where docs/security.md says, and nowhere else.
func TestListeners(t *testing.T) {
	n := newNode(t, "image")
	n.put("probed.yaml", probed)
	n.listens()
	const lock, healthz, metrics = "u_str @kube-ipvs", "tcp *:10256", "tcp 127.0.0.1:10249"
	d := n.start("--nodeport-addresses", "192.168.50.0/24,fd50::/64")
	d.first()
	n.listens(lock, healthz, metrics, "tcp 192.168.50.1:32100", "tcp [fd50::1]:32100")
	d.stop()
	n.listens()

	n.remove("probed.yaml")
	d = n.start("--nodeport-addresses", "localhost")
	d.first()
	n.listens(lock, healthz, metrics, "tcp 252.0.0.0:1024", "udp 252.0.0.0:1024", "tcp [8000::]:1024", "udp [8000::]:1024")
	d.stop()

	file := filepath.Join(n.tmp, "config.yaml")
	n.write(file, "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nhealthzBindAddress: none\nmetricsBindAddress: none\n")
	d = n.start("--config", file)
	d.first()
	n.listens(lock)
	d.stop()
}
