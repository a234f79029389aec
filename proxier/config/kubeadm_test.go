package config

import (
	_ "embed"
	"testing"
	"time"
)

// kubeadm is what kubeadm puts into the ConfigMap kube-proxy: every field,
// most of them empty.
//
//go:embed testdata/users/kubeadm.yaml
var kubeadm string

// What kubeadm installs works as it is, without a warning.
func TestKubeadm(t *testing.T) {
	c := mustLoad(t, kubeadm, "--hostname-override=worker-1")
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %q", c.Warnings)
	}
	for _, one := range []struct {
		path      string
		got, want any
		origin    string
	}{
		{"hostnameOverride", c.NodeName, "worker-1", "flag --hostname-override"},
		{"clientConnection.kubeconfig", c.Proxy.ClientConnection.Kubeconfig, "/var/lib/kube-proxy/kubeconfig.conf", "file " + c.File},
		{"clientConnection.qps", c.Proxy.ClientConnection.QPS, float32(5), "default"},
		{"clientConnection.burst", c.Proxy.ClientConnection.Burst, int32(10), "default"},
		{"clusterCIDR", c.PodCIDRs[0].String(), "10.244.0.0/16", "file " + c.File},
		{"detectLocalMode", c.Proxy.DetectLocalMode, ByClusterCIDR, "default"},
		{"healthzBindAddress", c.HealthzAddress.String(), "0.0.0.0:10256", "default"},
		{"metricsBindAddress", c.MetricsAddress.String(), "127.0.0.1:10249", "default"},
		{"ipvs.scheduler", c.Scheduler, "rr", "default"},
		{"ipvs.syncPeriod", c.Proxy.IPVS.SyncPeriod.Duration, 30 * time.Second, "default"},
		{"ipvs.minSyncPeriod", c.Proxy.IPVS.MinSyncPeriod.Duration, time.Duration(0), "default"},
		{"conntrack.maxPerCore", c.Conntrack.MaxPerCore, 32768, "default"},
		{"conntrack.tcpCloseWaitTimeout", c.Conntrack.TCPCloseWaitTimeout, time.Hour, "default"},
		{"iptables.masqueradeBit", c.MasqueradeBit, uint8(14), "default"},
		{"oomScoreAdj", *c.Proxy.OOMScoreAdj, int32(-999), "default"},
		{"manifests", len(c.Own.Manifests), 0, "default"},
	} {
		if one.got != one.want || c.Origins[one.path] != one.origin {
			t.Errorf("%s is %v (%s), want %v (%s)", one.path, one.got, c.Origins[one.path], one.want, one.origin)
		}
	}
}
