package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// All that is wrong is told at once, each with its place.
func TestAllProblemsAtOnce(t *testing.T) {
	file := proxyHead + `mode: nftables
bindaddress: 1.2.3.4
bindAddress: here
ipvs:
  scheduler: 5
  syncPeriod: 30
  schedular: rr
  scheduler: rr
  minSyncPeriod: -1s
  excludeCIDRs: [10.0.0.0]
  udpTimeout: 1ms
conntrack: 5
nodePortAddresses: 10.0.0.0/8
healthzBindAddress: localhost:80
featureGates: {A: 1}
oomScoreAdj: 5000
detectLocalMode: Guess
hostnameOverride: $(NODE_NAME)
---
kind: Other
---
` + ownHead + `clusterIPServers: both
takeover: maybe
nodeIPs: [10.0.0.1, 10.0.0.2]
serviceProxyName: "a b"
trafficMetrics: all
trafficMetricsTop: 0
imagePrefixes: {ipv4: {cluster: x}, ipv5: {}}
---
` + ownHead
	_, err := load(t, file, "--iptables-masquerade-bit=99", "--audit-period=soon", "--api-servers=ftp://a", "--log-format=xml")
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		`document 1, line 3: mode: "nftables"`,
		`document 1, line 4: bindaddress: unknown field; is bindAddress meant?`,
		`document 1, line 5: bindAddress: "here"`,
		`document 1, line 7: ipvs.scheduler: "5" is not text`,
		`document 1, line 8: ipvs.syncPeriod: "30" is not a duration`,
		`document 1, line 9: ipvs.schedular: unknown field`,
		`document 1, line 10: ipvs.scheduler: given twice, before in line 7`,
		`document 1, line 11: ipvs.minSyncPeriod: -1s is negative`,
		`document 1, line 12: ipvs.excludeCIDRs: "10.0.0.0" is not a CIDR`,
		`document 1, line 13: ipvs.udpTimeout: 1ms`,
		`document 1, line 14: conntrack: "5"`,
		`document 1, line 15: nodePortAddresses: "10.0.0.0/8" is not a list of texts`,
		`document 1, line 16: healthzBindAddress: "localhost:80"`,
		`document 1, line 17: featureGates: `,
		`document 1, line 18: oomScoreAdj: 5000`,
		`document 1, line 19: detectLocalMode: "Guess"`,
		`document 1, line 20: hostnameOverride: "$(NODE_NAME)"`,
		`document 2, line 22: kind: "Other"`,
		`document 3, line 26: clusterIPServers: "both"`,
		`document 3, line 27: takeover: "maybe" is not true or false`,
		`document 3, line 28: nodeIPs: 10.0.0.2`,
		`document 3, line 29: serviceProxyName: "a b"`,
		`document 3, line 30: trafficMetrics: "all"`,
		`document 3, line 31: trafficMetricsTop: 0`,
		`document 3, line 32: imagePrefixes.ipv4.cluster: "x"`,
		`document 3, line 32: imagePrefixes.ipv5: unknown field`,
		`document 4, line 34: kind: document 3 is a KubeIPVSConfiguration already`,
		`--iptables-masquerade-bit: 99`, `--audit-period: "soon"`, `--api-servers: "ftp://a"`, `--log-format: "xml"`,
	}
	got := strings.Split(err.Error(), "\n")
	if len(got) != len(want) {
		t.Errorf("%d problems, want %d", len(got), len(want))
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("nothing of %s in\n%s", w, err)
		}
	}
	for _, line := range got {
		if !strings.Contains(line, "config.conf, document ") && !strings.HasPrefix(line, "--") {
			t.Errorf("without a place: %s", line)
		}
	}
}

func TestSingleProblems(t *testing.T) {
	tests := []struct {
		file string
		args []string
		want string
	}{
		{"[]", nil, "line 1: it is a list"},
		{"a: [", nil, "document 1: malformed"},
		{proxyHead + "---\n\t", nil, "malformed: yaml: line 4"},
		{"kind: " + proxyKind, nil, `apiVersion: ""`},
		{"kind: " + proxyKind + "\napiVersion: kubeproxy.config.k8s.io/v1alpha2", nil, "v1alpha2"},
		{proxyHead + "<<: {mode: ipvs}", nil, "merge keys"},
		{proxyHead + "iptables: &a {masqueradeAll: true}\nnftables: *a\nfoo: 1", nil, "foo: unknown"},
		{proxyHead + "clusterIPServers: direct", nil, "clusterIPServers: unknown field"},
		{proxyHead + "bindAddress: 10.0.0.1", []string{"--detect-local-mode=BridgeInterface"}, "--pod-bridge-interface: it is needed"},
		{"", []string{"--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=a/b"}, "--pod-interface-name-prefix: "},
		{"", []string{"--proxy-mode=iptables"}, `--proxy-mode: "iptables"`},
		{"", []string{"--ipvs-min-sync-period=1m"}, "--ipvs-min-sync-period: 1m0s is more than"},
		{"", []string{"--ipvs-sync-period=0"}, "--ipvs-sync-period: 0s is not more than 0"},
		{"", []string{"--healthz-bind-address=127.0.0.1:1", "--metrics-bind-address=127.0.0.1:1"}, "--metrics-bind-address: "},
		{"", []string{"--scheduler=Round Robin"}, "--scheduler: "},
		{"", []string{"--cluster-cidr=244.0.0.0/16"}, "--cluster-cidr: 244.0.0.0/16 overlaps the image prefix 240.0.0.0/5"},
		{"", []string{"--feature-gates=A"}, "--feature-gates: "},
		{"", []string{"--zone=\xff"}, "--zone: "},
		{"", []string{"--healthz-port=70000"}, "--healthz-port: "},
		{"", []string{"--conntrack-min=1.5"}, "--conntrack-min: "},
		{"", []string{"--kube-api-burst=-1"}, "--kube-api-burst: -1 is negative"},
	}
	for _, mode := range []string{"iptables", "nftables", "kernelspace", "userspace"} {
		tests = append(tests, struct {
			file string
			args []string
			want string
		}{proxyHead + "mode: " + mode, nil, fmt.Sprintf("mode: %q", mode)})
	}
	for _, tt := range tests {
		_, err := load(t, tt.file, tt.args...)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q %v: %v, want %s", tt.file, tt.args, err, tt.want)
		}
	}
}

func TestMissingFile(t *testing.T) {
	f := Flags{File: filepath.Join(t.TempDir(), "none")}
	if _, err := f.Load(); !os.IsNotExist(unwrapOne(err)) || !strings.HasPrefix(err.Error(), "--config: ") {
		t.Error(err)
	}
}

func unwrapOne(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) == 1 {
		err = joined.Unwrap()[0]
	}
	if one, ok := err.(interface{ Unwrap() error }); ok {
		return one.Unwrap()
	}
	return err
}

// Whatever a file holds, reading it ends, and an error has a place.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{kubeadm, proxyHead + "ipvs: {syncPeriod: 1s}\n---\n" + ownHead + "nodeIPs: [a]", "&a [*a]", proxyHead + "ipvs: &a {ipvs: *a}\nlogging: *a",
		`{"kind":"KubeIPVSConfiguration","apiVersion":"kube-ipvs/v1alpha1"}{`, proxyHead + "featureGates: &a {x: *a}", proxyHead + "? [a]\n: b", "--- !!binary a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l := newLayers()
		l.decode("F", data)
		_, err := l.finish()
		for _, e := range l.errs {
			if !strings.HasPrefix(e.Error(), "F, document ") && !strings.HasPrefix(e.Error(), "--") {
				t.Errorf("without a place: %v", err)
			}
		}
	})
}
