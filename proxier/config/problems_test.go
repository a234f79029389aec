package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// All that is wrong is told at once, each with its place.
func TestAllProblemsAtOnce(t *testing.T) {
	file := proxyHead + `mode: nftables
bindaddress: 1.2.3.4
bindAddress: here
ipvs:
  scheduler: rr
  syncPeriod: 30
  schedular: rr
  scheduler: 5
  minSyncPeriod: -1s
  excludeCIDRs: [10.0.0.0, 10.0.0.1]
  udpTimeout: -1ms
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
	_, err := load(t, file, "--strict-config", "--iptables-masquerade-bit=99", "--audit-period=soon", "--api-servers=ftp://a", "--log-format=xml")
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		`document 1, line 3: mode: "nftables"`,
		`document 1, line 4: bindaddress: unknown field (is bindAddress meant?)`,
		`document 1, line 5: bindAddress: "here"`,
		`document 1, line 10: ipvs.scheduler: "5" is not text`,
		`document 1, line 8: ipvs.syncPeriod: "30" is not a duration`,
		`document 1, line 9: ipvs.schedular: unknown field (is scheduler meant?)`,
		`document 1, line 10: ipvs.scheduler: given twice, before in line 7`,
		`document 1, line 11: ipvs.minSyncPeriod: -1s is negative`,
		`document 1, line 12: ipvs.excludeCIDRs: "10.0.0.0" is not a CIDR`,
		`document 1, line 12: ipvs.excludeCIDRs: "10.0.0.1" is not a CIDR`,
		`document 1, line 13: ipvs.udpTimeout: -1ms`,
		`document 1, line 14: conntrack: "5"`,
		`document 1, line 15: nodePortAddresses: "10.0.0.0/8" is not a list of strings`,
		`document 1, line 16: healthzBindAddress: "localhost:80"`,
		`document 1, line 17: featureGates.A: "1" is not true or false`,
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
		`document 3, line 32: imagePrefixes.ipv5: unknown field (is ipv4 or ipv6 meant?)`,
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
		{"\n", nil, "config.conf: it holds no document"},
		{"# nothing", nil, "config.conf: it holds no document"},
		{"---\n---\nnull\n", nil, "config.conf: it holds no document"},
		{"[]", nil, "line 1: it is a list"},
		{"a: [", nil, "document 1: malformed"},
		{ownHead + "---\n\t", nil, "malformed: yaml: line 4"},
		{proxyHead + "---\n" + ownHead + "nodeIPs: [", nil, "document 2: malformed"},
		{proxyHead + "---\n[\n---\n" + ownHead, nil, "document 2: malformed"},
		{proxyHead + "---\nkind: Other\napiVersion: " + ownVersion, nil, "document 2, line 4: kind: \"Other\" is neither"},
		{proxyHead + "---\nkind: " + ownKind + "\napiVersion: kube-ipvs/v2", nil, "document 2, line 4: apiVersion: \"kube-ipvs/v2\""},
		{"kind: Other\napiVersion: kubeproxy.config.k8s.io/v1alpha1\n---\n" + proxyHead, nil, "document 1, line 1: kind: \"Other\" is neither"},
		{"kind: " + proxyKind, nil, `apiVersion: ""`},
		{"kind: " + proxyKind + "\napiVersion: kubeproxy.config.k8s.io/v1alpha2", nil, "v1alpha2"},
		{proxyHead + "<<: 5", nil, "cannot be merged"},
		{proxyHead + "ipvs: &a {<<: *a}", nil, "more than 100 merge keys"},
		{proxyHead + "iptables: &a {masqueradeAll: true}\nnftables: *a\nfoo: 1", []string{"--strict-config"}, "foo: unknown"},
		{proxyHead + "clusterIPServers: direct", []string{"--strict-config"}, "clusterIPServers: unknown field"},
		{"kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\n---\n" + proxyHead, nil, "KubeletConfiguration"},
		{proxyHead + "---\nkind: KubeIpvsConfiguration\napiVersion: " + ownVersion, nil, "KubeIpvsConfiguration"},
		{proxyHead + "bindAddress: 10.0.0.1", []string{"--detect-local-mode=BridgeInterface"}, "--pod-bridge-interface: it is needed"},
		{"", []string{"--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=a/b"}, "--pod-interface-name-prefix: "},
		{"", []string{"--proxy-mode=iptables"}, `--proxy-mode: "iptables"`},
		{"", []string{"--ipvs-min-sync-period=1m"}, "--ipvs-min-sync-period: 1m0s is more than"},
		{"", []string{"--ipvs-sync-period=0"}, "--ipvs-sync-period: 0s is not more than 0"},
		{"", []string{"--scheduler=Round Robin"}, "--scheduler: "},
		{"", []string{"--nodeport-addresses=eth0"}, `--nodeport-addresses: "eth0" is not a CIDR such as 192.168.0.0/24, and none of primary, localhost, all`},
		{"", []string{"--cluster-cidr=244.0.0.0/16"}, "--cluster-cidr: 244.0.0.0/16 lies in the image prefix 240.0.0.0/5"},
		{"", []string{"--cluster-cidr=10.0.0.0/8,4000::/3"}, "--cluster-cidr: 4000::/3 lies in the image prefix 4000::/3"},
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

// What kube-proxy reads over is left out with one warning each, what else the
// file says counts, and --strict-config refuses it.
func TestReadOver(t *testing.T) {
	tests := []struct{ name, file, warning string }{
		{"a field of long ago", proxyHead + "ipvs: {scheduler: lc}\nresourceContainer: /kube-proxy", "line 4: resourceContainer: a field of old versions of kube-proxy; it has no effect"},
		{"another, in a group", proxyHead + "ipvs: {scheduler: lc}\nconntrack: {max: 0}", "line 4: conntrack.max: a field of old versions of kube-proxy; it has no effect: conntrack.maxPerCore"},
		{"a field of tomorrow", proxyHead + "ipvs: {scheduler: lc}\nnever: [{heard: of}]", "line 4: never: unknown field; it is left out"},
		{"a wrong case", proxyHead + "ipvs: {scheduler: lc, Scheduler: rr}", "line 3: ipvs.Scheduler: unknown field (is scheduler meant?); it is left out"},
		{"a field twice", proxyHead + "ipvs:\n  scheduler: rr\n  scheduler: lc", "line 5: ipvs.scheduler: given twice, before in line 4; this one counts"},
		{"a group twice", proxyHead + "ipvs: {strictARP: true}\nipvs: {scheduler: lc}", "line 4: ipvs: given twice, before in line 3; this one counts"},
		{"a gate twice", proxyHead + "ipvs: {scheduler: lc}\nfeatureGates: {AllowServiceExternalIPs: false, AllowServiceExternalIPs: yes}", "line 4: featureGates.AllowServiceExternalIPs: given twice, before in line 4; this one counts"},
		{"a field of ours", proxyHead + "ipvs: {scheduler: lc}\n---\n" + ownHead + "shiny: new", "line 7: shiny: unknown field; it is left out"},
		{"a document of another program", proxyHead + "ipvs: {scheduler: lc}\n---\nkind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1", "document 2, line 5: kind: \"KubeletConfiguration\" is neither"},
		{"a list behind", proxyHead + "ipvs: {scheduler: lc}\n---\n- 1\n", "document 2, line 5: it is a list"},
		{"plain text behind", proxyHead + "ipvs: {scheduler: lc}\n---\nthe end\n", "document 2, line 5: it is a single value"},
		{"what is malformed behind", proxyHead + "ipvs: {scheduler: lc}\n---\na: [\n---\nb: 1", "document 2: malformed: "},
		{"JSON, malformed behind", `{"kind": "` + proxyKind + `", "apiVersion": "` + proxyVersion + `", "ipvs": {"scheduler": "lc"}}{`, "document 2: malformed: "},
		{"malformed behind ours", ownHead + "---\n" + proxyHead + "ipvs: {scheduler: lc}\n---\n]", "document 3: malformed: "},
		{"a version of tomorrow behind", proxyHead + "ipvs: {scheduler: lc}\n---\nkind: " + proxyKind + "\napiVersion: kubeproxy.config.k8s.io/v1\n", "document 2, line 5: apiVersion: \"kubeproxy.config.k8s.io/v1\" is not"},
		{"a kind of tomorrow behind", proxyHead + "ipvs: {scheduler: lc}\n---\nkind: Other\napiVersion: kubeproxy.config.k8s.io/v1alpha1\n", "document 2, line 5: kind: \"Other\" is neither"},
		{"a document twice", proxyHead + "ipvs: {scheduler: lc}\n---\n" + proxyHead + "ipvs: {scheduler: rr}", "document 2, line 5: kind: document 1 is a KubeProxyConfiguration already"},
	}
	for _, tt := range tests {
		c := mustLoad(t, tt.file)
		if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], tt.warning) {
			t.Errorf("%s: warnings %q, want %q", tt.name, c.Warnings, tt.warning)
		}
		if c.Scheduler != "lc" || c.Proxy.IPVS.StrictARP {
			t.Errorf("%s: scheduler %s, strictARP %t", tt.name, c.Scheduler, c.Proxy.IPVS.StrictARP)
		}
		// Nothing is done about what is refused.
		strict := strings.TrimSuffix(strings.TrimSuffix(tt.warning, "; it is left out"), "; this one counts")
		_, err := load(t, tt.file, "--strict-config")
		if err == nil || !strings.Contains(err.Error(), strict) || strings.Contains(err.Error(), "left out") || strings.Contains(err.Error(), "counts") != strings.Contains(strict, "counts") ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: strict: %v", tt.name, err)
		}
	}
}

// YAML that kube-proxy reads without a word.
func TestYAML(t *testing.T) {
	for name, file := range map[string]string{
		"a version that is merged": "<<: {apiVersion: " + proxyVersion + "}\nkind: " + proxyKind + "\niptables: {masqueradeAll: true}\nipvs: {scheduler: lc, udpTimeout: 9s}\n",
		"an alias as a version":    "clientConnection: {acceptContentTypes: &a " + proxyVersion + "}\napiVersion: *a\nkind: " + proxyKind + "\niptables: {masqueradeAll: true}\nipvs: {scheduler: lc, udpTimeout: 9s}\n",
		"merge keys":               proxyHead + "iptables: &a {masqueradeAll: true}\nipvs: {<<: [{scheduler: lc, udpTimeout: 5s}, {scheduler: rr}], udpTimeout: 9s}\n",
		"a byte order mark, CRLF":  "\ufeff" + strings.ReplaceAll(proxyHead+"ipvs:\n  scheduler: lc\n  udpTimeout: 9s\niptables: {masqueradeAll: on}\n", "\n", "\r\n"),
		"JSON, and a separator":    `{"kind": "` + proxyKind + `", "apiVersion": "` + proxyVersion + `", "ipvs": {"scheduler": "lc", "udpTimeout": "9s"}, "iptables": {"masqueradeAll": true}}` + "\n---\n",
	} {
		c, err := load(t, file)
		if err != nil || len(c.Warnings) > 0 || c.Scheduler != "lc" || c.IPVSUDPTimeout != 9*time.Second || !c.MasqueradeAll {
			t.Errorf("%s: %v, %q, scheduler %s, UDP timeout %s, masquerade all %t", name, err, c.Warnings, c.Scheduler, c.IPVSUDPTimeout, c.MasqueradeAll)
		}
	}
}

// YAML 1.1 has more words for true and false than YAML 1.2.
func TestTruth(t *testing.T) {
	for _, yes := range []string{"true", "yes", "On", "!!bool yes", "!!bool true", "&a yes"} {
		c := mustLoad(t, proxyHead+"featureGates: {AllowServiceExternalIPs: no, KubeProxyIPVS: "+yes+"}\n"+
			"iptables: {localhostNodePorts: "+yes+"}\nipvs: {strictARP: "+yes+"}\n")
		if !c.Proxy.IPVS.StrictARP || !*c.Proxy.IPTables.LocalhostNodePorts || !c.NoExternalIPs || !c.Proxy.FeatureGates["KubeProxyIPVS"] || len(c.Warnings) > 0 {
			t.Errorf("%s: strictARP %t, localhostNodePorts %t, gates %v, warnings %q", yes, c.Proxy.IPVS.StrictARP, *c.Proxy.IPTables.LocalhostNodePorts, c.Proxy.FeatureGates, c.Warnings)
		}
	}
	for _, no := range []string{"false", "no", "Off", "!!bool no"} {
		c := mustLoad(t, proxyHead+"featureGates: {AllowServiceExternalIPs: null}\niptables: {localhostNodePorts: "+no+"}\nipvs: {strictARP: "+no+"}\n")
		if c.Proxy.IPVS.StrictARP || !c.NoExternalIPs || *c.Proxy.IPTables.LocalhostNodePorts {
			t.Errorf("%s: strictARP %t, localhostNodePorts %t", no, c.Proxy.IPVS.StrictARP, *c.Proxy.IPTables.LocalhostNodePorts)
		}
	}
}

func TestMissingFile(t *testing.T) {
	f := Flags{File: filepath.Join(t.TempDir(), "none")}
	if _, err := f.Load(); !os.IsNotExist(unwrapOne(err)) || !strings.HasPrefix(err.Error(), "the configuration file: open ") {
		t.Error(err)
	}
}

func TestEmptiedFile(t *testing.T) {
	f := Flags{File: filepath.Join(t.TempDir(), "config.conf")}
	write(t, f.File, "")
	if _, err := f.Load(); err == nil || err.Error() != f.File+": it holds no document" {
		t.Error(err)
	}
}

// A wrong path must not fill the memory.
func TestHugeFile(t *testing.T) {
	f := Flags{File: filepath.Join(t.TempDir(), "config.conf")}
	write(t, f.File, strings.Repeat("#", MaxSize+1))
	if _, err := f.Load(); err == nil || !strings.Contains(err.Error(), f.File+" is larger than 4194304 bytes") {
		t.Error(err)
	}
}

// What Load accepts can be printed as JSON, and that is a file for --config.
func TestHugeConfiguration(t *testing.T) {
	const each = 6 // bytes that JSON writes for "<"
	of := func(n int) string {
		return ownHead + "manifests: ['" + strings.Repeat("<", n) + "']\n"
	}
	if _, err := load(t, of(MaxSize/each)); err == nil || !strings.Contains(err.Error(), " bytes as JSON, and may have 4194304") {
		t.Error(err)
	}
	c, err := load(t, of((MaxSize-10000)/each))
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := c.WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	if again, err := load(t, text.String()); err != nil || !slices.Equal(again.Own.Manifests, c.Own.Manifests) {
		t.Errorf("of the %d bytes printed: %v", text.Len(), err)
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
		`{"kind":"KubeIPVSConfiguration","apiVersion":"kube-ipvs/v1alpha1"}{`, proxyHead + "featureGates: &a {x: *a}", proxyHead + "ipvs: &a {<<: [*a, *a]}", proxyHead + "? [a]\n: b", "--- !!binary a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l := newLayers()
		l.decode("F", data)
		_, err := l.finish()
		for _, e := range l.errs {
			if !strings.HasPrefix(e.Error(), "F, document ") && e.Error() != "F: it holds no document" && !strings.HasPrefix(e.Error(), "--") {
				t.Errorf("without a place: %v", err)
			}
		}
	})
}
