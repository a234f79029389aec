package config

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// users are how distributions start kube-proxy, in the last five minors: with a
// file, in testdata/users, or with flags. Each is written from what is documented
// of it, with IPVS chosen where something else is the default.
var users = []struct {
	name     string
	file     bool
	flags    []string
	warnings []string // parts of them, in order
}{
	{"kubeadm", true, []string{"--hostname-override=node-1"}, nil},
	{"kubeadm-dual", true, []string{"--hostname-override=node-1"}, []string{`line 9: kind: "KubeletConfiguration" is neither`, "ipvs.excludeCIDRs: it has an effect with takeover only"}},
	{"write-config-to", true, nil, nil},
	{"kubespray", true, nil, nil},
	{"kubespray-old", true, nil, []string{"line 7: conntrack.max: a field of old versions of kube-proxy", "resourceContainer: a field of old versions", "udpIdleTimeout: a field of old versions"}},
	{"eks", true, []string{"--v=2", "--hostname-override=ip-10-0-0-1.ec2.internal"}, nil},
	{"k3s", false, strings.Fields("--cluster-cidr=10.42.0.0/16 --conntrack-max-per-core=0 --conntrack-tcp-timeout-close-wait=0s --conntrack-tcp-timeout-established=0s " +
		"--healthz-bind-address=127.0.0.1 --hostname-override=n1 --kubeconfig=/var/lib/rancher/k3s/agent/kubeproxy.kubeconfig --proxy-mode=ipvs"), nil},
	{"RKE2", false, strings.Fields("--cluster-cidr=10.42.0.0/16,fd42::/56 --conntrack-max-per-core=0 --conntrack-tcp-timeout-close-wait=0s --conntrack-tcp-timeout-established=0s " +
		"--healthz-bind-address=127.0.0.1 --hostname-override=n1 --kubeconfig=/var/lib/rancher/rke2/agent/kubeproxy.kubeconfig --proxy-mode=ipvs --ipvs-scheduler=lc"), nil},
	{"RKE", false, strings.Fields("--cluster-cidr=10.42.0.0/16 --v=2 --healthz-bind-address=127.0.0.1 --hostname-override=worker1 --kubeconfig=/etc/kubernetes/ssl/kubecfg-kube-proxy.yaml --proxy-mode=ipvs"), nil},
	{"kops", false, strings.Fields("--cluster-cidr=100.96.0.0/11 --conntrack-max-per-core=131072 --hostname-override=i-0123 --kubeconfig=/var/lib/kube-proxy/kubeconfig " +
		"--master=https://api.internal.k8s.example.com --oom-score-adj=-998 --proxy-mode=ipvs --ipvs-scheduler=rr --v=2"), nil},
	{"kops before 1.23", false, strings.Fields("--conntrack-max-per-core=131072 --hostname-override=i-0123 --master=https://127.0.0.1 --oom-score-adj=-998 --v=2 --logtostderr=false " +
		"--alsologtostderr=true --log-file=/var/log/kube-proxy.log --proxy-mode=ipvs"),
		[]string{"--logtostderr: it is ignored", "--alsologtostderr: it is ignored", "--log-file: it is ignored"}},
	{"AKS", false, strings.Fields("--conntrack-max-per-core=32768 --metrics-bind-address=0.0.0.0:10249 --kubeconfig=/var/lib/kubelet/kubeconfig --cluster-cidr=10.244.0.0/16 " +
		"--detect-local-mode=ClusterCIDR --pod-interface-name-prefix= --v=3 --proxy-mode=ipvs --ipvs-scheduler=lc --ipvs-tcp-timeout=15m0s --ipvs-tcpfin-timeout=2m0s --ipvs-udp-timeout=5m0s"), nil},
	{"GKE", false, strings.Fields("--master=https://10.0.0.2 --kubeconfig=/var/lib/kube-proxy/kubeconfig --cluster-cidr=10.4.0.0/14 --oom-score-adj=-998 --v=2 --detect-local-mode=NodeCIDR " +
		"--iptables-sync-period=1m --iptables-min-sync-period=10s --ipvs-sync-period=1m --ipvs-min-sync-period=10s --proxy-mode=ipvs"),
		[]string{"--iptables-sync-period: it is ignored", "--iptables-min-sync-period: it is ignored"}},
	{"Talos", false, strings.Fields("--cluster-cidr=10.244.0.0/16 --conntrack-max-per-core=0 --hostname-override=talos-1 --kubeconfig=/etc/kubernetes/kubeconfig --proxy-mode=ipvs --ipvs-strict-arp=true"), nil},
}

// What distributions start kube-proxy with is accepted, with no other warnings
// than these. What config print makes of it means the same, and is strictly right.
func TestUsers(t *testing.T) {
	for _, u := range users {
		args := u.flags
		if u.file {
			args = append([]string{"--config=testdata/users/" + u.name + ".yaml"}, args...)
		}
		c, err := load(t, "", args...)
		if err != nil {
			t.Errorf("%s: %v", u.name, err)
			continue
		}
		if len(c.Warnings) != len(u.warnings) {
			t.Errorf("%s: %q, want %q", u.name, c.Warnings, u.warnings)
		}
		for i, w := range c.Warnings {
			if i < len(u.warnings) && !strings.Contains(w, u.warnings[i]) {
				t.Errorf("%s: %s, want %s", u.name, w, u.warnings[i])
			}
		}
		var printed strings.Builder
		if err := c.WriteYAML(&printed); err != nil {
			t.Fatal(err)
		}
		again, err := load(t, printed.String(), "--strict-config")
		if err != nil {
			t.Errorf("%s: what is printed of it is not right: %v", u.name, err)
			continue
		}
		if diff := cmp.Diff(c, again, values); diff != "" {
			t.Errorf("%s: what is printed of it means something else:\n%s", u.name, diff)
		}
	}
	files, err := os.ReadDir("testdata/users")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), ".yaml")
		found := false
		for _, u := range users {
			found = found || u.file && u.name == name
		}
		if !found {
			t.Errorf("%s is not read", name)
		}
	}
}
