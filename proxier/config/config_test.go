package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
)

// proxyHead and ownHead begin the documents.
const (
	proxyHead = "apiVersion: " + proxyVersion + "\nkind: " + proxyKind + "\n"
	ownHead   = "apiVersion: " + ownVersion + "\nkind: " + ownKind + "\n"
)

// load reads flags, and a file unless its text is empty.
func load(t testing.TB, file string, args ...string) (*Config, error) {
	t.Helper()
	if file != "" {
		path := filepath.Join(t.TempDir(), "config.conf")
		write(t, path, file)
		args = append([]string{"--config", path}, args...)
	}
	var f Flags
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.Add(fs)
	if err := fs.Parse(JoinVerbosity(args)); err != nil {
		t.Fatal(err)
	}
	return f.Load()
}

func mustLoad(t testing.TB, file string, args ...string) *Config {
	t.Helper()
	c, err := load(t, file, args...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// asGiven are the fields that their readers take from Proxy and Own as they are.
var asGiven = []string{
	"apiServers", "auditPeriod", "drainTimeout", "manifests", "serviceProxyName", "takeover", "trafficMetrics", "trafficMetricsTop", "vipBinding", "zone",
	"bindAddressHardFail", "clientConnection.acceptContentTypes", "clientConnection.burst", "clientConnection.contentType", "clientConnection.kubeconfig",
	"clientConnection.qps", "configSyncPeriod", "detectLocal.bridgeInterface", "detectLocal.interfaceNamePrefix", "detectLocalMode", "enableProfiling",
	"featureGates", "ipvs.minSyncPeriod", "ipvs.strictARP", "ipvs.syncPeriod", "logging.format", "logging.verbosity", "oomScoreAdj",
}

func givenOf(d *documents) map[string]any {
	out := map[string]any{}
	for _, path := range asGiven {
		out[path] = d.fields()[path].Interface()
	}
	return out
}

// values leaves what is programmed, without where it comes from.
var values = cmp.Options{cmpopts.IgnoreFields(Config{}, "Origins", "Warnings", "File", "Digest"), cmp.AllowUnexported(Config{}), cmp.Transformer("asGiven", givenOf),
	cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}), cmpopts.EquateEmpty()}

func TestPrecedence(t *testing.T) {
	const file = proxyHead + "hostnameOverride: of-file\nipvs: {scheduler: wrr, syncPeriod: 10s}\nconntrack: {maxPerCore: 0}\n" +
		"iptables: {masqueradeAll: true}\nnodePortAddresses: [10.0.0.0/8]\n---\n" + ownHead + "drainTimeout: 0s\nzone: a\n"
	tests := []struct {
		name, file string
		args       []string
		path       string
		want       any
		of         func(*Config) any
		origin     string
	}{
		{"default", "", nil, "ipvs.scheduler", "rr", func(c *Config) any { return c.Scheduler }, "default"},
		{"file over default", file, nil, "ipvs.scheduler", "wrr", func(c *Config) any { return c.Scheduler }, "file"},
		{"flag over default", "", []string{"--scheduler=lc"}, "ipvs.scheduler", "lc", func(c *Config) any { return c.Scheduler }, "flag --scheduler"},
		{"flag over file", file, []string{"--ipvs-scheduler=lc"}, "ipvs.scheduler", "lc", func(c *Config) any { return c.Scheduler }, "flag --ipvs-scheduler"},
		{"flag of the default over file", file, []string{"--ipvs-sync-period=30s"}, "ipvs.syncPeriod", 30 * time.Second, func(c *Config) any { return c.Proxy.IPVS.SyncPeriod.Duration }, "flag --ipvs-sync-period"},
		{"flag of false over file", file, []string{"--masquerade-all=false"}, "iptables.masqueradeAll", false, func(c *Config) any { return c.MasqueradeAll }, "flag --masquerade-all"},
		{"zero of a pointer in the file", file, nil, "conntrack.maxPerCore", 0, func(c *Config) any { return c.Conntrack.MaxPerCore }, "file"},
		{"beside it the default", file, nil, "conntrack.min", 131072, func(c *Config) any { return c.Conntrack.Min }, "default"},
		{"zero in our own document", file, nil, "drainTimeout", time.Duration(0), func(c *Config) any { return c.Own.DrainTimeout.Duration }, "file"},
		{"a flag's list replaces the file's", file, []string{"--nodeport-addresses=11.0.0.0/8", "--nodeport-addresses", "12.0.0.0/8"}, "nodePortAddresses", "[11.0.0.0/8 12.0.0.0/8]",
			func(c *Config) any { return text(c.NodePortAddresses) }, "flag --nodeport-addresses"},
		{"the last of the same flag", "", []string{"--zone=a", "--zone=b"}, "zone", "b", func(c *Config) any { return c.Own.Zone }, "flag --zone"},
		{"an empty flag over the file", file, []string{"--nodeport-addresses="}, "nodePortAddresses", "[]", func(c *Config) any { return text(c.NodePortAddresses) }, "flag --nodeport-addresses"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := mustLoad(t, tt.file, tt.args...)
			if got := tt.of(c); got != tt.want {
				t.Errorf("%s is %v, want %v", tt.path, got, tt.want)
			}
			want := tt.origin
			if want == "file" {
				want = "file " + c.File
			}
			if got := c.Origins[tt.path]; got != want {
				t.Errorf("%s comes from %q, want %q", tt.path, got, want)
			}
		})
	}
}

func text[T interface{ String() string }](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return "[" + strings.Join(out, " ") + "]"
}

// A parsed flag set shows what was given, as /flagz does, and the defaults of the rest.
func TestFlagsShowWhatWasGiven(t *testing.T) {
	var f Flags
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.Add(fs)
	if err := fs.Parse([]string{"--kubeconfig=/k", "--scheduler=lc", "--scheduler=sh", "--manifests=a", "--manifests=b", "--cluster-cidr=10.0.0.0/8", "--cluster-cidr=fd00::/8"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"kubeconfig": "/k", "scheduler": "sh", "manifests": "a,b", "cluster-cidr": "10.0.0.0/8,fd00::/8", "vip-binding": "address",
	} {
		if got := fs.Lookup(name).Value.String(); got != want {
			t.Errorf("--%s is %q, want %q", name, got, want)
		}
	}
}

// Flags that are several names of one thing.
func TestSameFlags(t *testing.T) {
	tests := []struct{ a, b []string }{
		{[]string{"--node-name=n"}, []string{"--hostname-override=N"}},
		{[]string{"--node-name=n", "--hostname-override=n"}, []string{"--node-name=n"}},
		{[]string{"--scheduler=sh"}, []string{"--ipvs-scheduler=sh"}},
		{[]string{"--log-format=json"}, []string{"--logging-format=json"}},
		{[]string{"--master=https://a"}, []string{"--api-servers=https://a"}},
		{[]string{"--api-servers=a:1,b:2"}, []string{"--api-servers=a:1", "--api-servers=b:2"}},
		{[]string{"--cluster-cidr=10.0.0.0/8,fd00::/8"}, []string{"--cluster-cidr=10.0.0.0/8", "--cluster-cidr=fd00::/8"}},
		{[]string{"-v"}, []string{"--verbose"}},
		{[]string{"-v=2"}, []string{"--v=2"}},
		{[]string{"-v", "2"}, []string{"--v", "2"}},
		{[]string{"-v5"}, []string{"-v=5", "--verbose"}},
		{[]string{"--verbose", "-v=2"}, []string{"-v=4"}},
		{[]string{"--verbose=false"}, nil},
		{[]string{"--healthz-port=99"}, []string{"--healthz-bind-address=0.0.0.0:99"}},
		{[]string{"--healthz-port=99", "--healthz-bind-address=::1"}, []string{"--healthz-bind-address=[::1]:99"}},
		{[]string{"--healthz-port=0"}, []string{"--healthz-bind-address="}},
		{[]string{"--metrics-port=99", "--bind-address=::1"}, []string{"--metrics-bind-address=[::1]:99", "--bind-address=::1"}},
		{[]string{"--metrics-bind-address=0.0.0.0"}, []string{"--metrics-bind-address=0.0.0.0:10249"}},
		{[]string{"--proxy-mode="}, []string{"--proxy-mode=ipvs"}},
		{[]string{"--nodeport-addresses=all"}, []string{"--nodeport-addresses=0.0.0.0/0,::/0"}},
		{[]string{"--nodeport-addresses=localhost,primary"}, []string{"--nodeport-addresses=127.0.0.0/8,::1/128,primary"}},
		{[]string{"--kube-api-qps=0", "--kube-api-burst=0", "--scheduler="}, nil},
		{[]string{"--feature-gates=A=true,B=false"}, []string{"--feature-gates=A=true", "--feature-gates=B=false"}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(mustLoad(t, "", tt.a...), mustLoad(t, "", tt.b...), values); diff != "" {
			t.Errorf("%v and %v differ:\n%s", tt.a, tt.b, diff)
		}
	}
	if _, err := load(t, "", "--node-name=a", "--hostname-override=b"); err == nil || !strings.Contains(err.Error(), "--hostname-override") {
		t.Errorf("two names of the node: %v", err)
	}
}

func TestBindAddresses(t *testing.T) {
	tests := []struct {
		file             string
		args             []string
		healthz, metrics string
	}{
		{"", nil, "0.0.0.0:10256", "127.0.0.1:10249"},
		{"", []string{"--bind-address=2001:db8::1"}, "[::]:10256", "[::1]:10249"},
		{proxyHead + "bindAddress: '::'", nil, "[::]:10256", "[::1]:10249"},
		{proxyHead + "healthzBindAddress: ''\nmetricsBindAddress: ''", nil, "0.0.0.0:10256", "127.0.0.1:10249"},
		{proxyHead + "healthzBindAddress: none\nmetricsBindAddress: '::'", nil, "invalid AddrPort", "[::]:10249"},
		{proxyHead + "healthzBindAddress: 10.0.0.1", []string{"--metrics-bind-address="}, "10.0.0.1:10256", "invalid AddrPort"},
		{proxyHead + "healthzBindAddress: 010.0.0.01\nmetricsBindAddress: 127.0.0.001:10249", nil, "10.0.0.1:10256", "127.0.0.1:10249"},
		{proxyHead + "healthzBindAddress: fe80::1%lo\nmetricsBindAddress: '::ffff:10.0.0.1'", nil, "[fe80::1%lo]:10256", "10.0.0.1:10249"},
		{proxyHead + "metricsBindAddress: 10.0.0.1:1", []string{"--metrics-port=2"}, "0.0.0.0:10256", "10.0.0.1:2"},
	}
	for _, tt := range tests {
		c := mustLoad(t, tt.file, tt.args...)
		if c.HealthzAddress.String() != tt.healthz || c.MetricsAddress.String() != tt.metrics {
			t.Errorf("%q %v: %s and %s, want %s and %s", tt.file, tt.args, c.HealthzAddress, c.MetricsAddress, tt.healthz, tt.metrics)
		}
	}
}

// nodePortAddresses is any mixture of CIDRs and words (KEP-6032), and with
// iptables.localhostNodePorts decides whether localhost is asked for.
func TestNodePortWords(t *testing.T) {
	tests := []struct {
		addresses, flag string
		primary         bool
		want            string
		localhost       [2]bool
		warning         string // part of the only one; empty: none
	}{
		{"", "", false, "[]", [2]bool{}, ""},
		{"primary", "", true, "[]", [2]bool{}, ""},
		{"all", "", false, "[0.0.0.0/0 ::/0]", [2]bool{}, ""},
		{"primary,10.0.0.0/8", "", true, "[10.0.0.0/8]", [2]bool{}, ""},
		{"localhost", "", false, "[127.0.0.0/8 ::1/128]", [2]bool{true, true}, ""},
		{"all,primary,localhost,10.0.0.0/8", "", true, "[0.0.0.0/0 ::/0 127.0.0.0/8 ::1/128 10.0.0.0/8]", [2]bool{true, true}, ""},
		{"127.0.0.1/32,010.0.0.0/8,::ffff:192.168.0.0/112", "", false, "[127.0.0.1/32 10.0.0.0/8 192.168.0.0/16]", [2]bool{true, false}, ""},
		{"::1/128", "", false, "[::1/128]", [2]bool{false, true}, ""},
		{"", "true", false, "[]", [2]bool{true, false}, ""},
		{"", "false", false, "[]", [2]bool{}, ""},
		{"fd00::/8", "true", false, "[fd00::/8]", [2]bool{true, false}, ""},
		{"all", "true", false, "[0.0.0.0/0 ::/0]", [2]bool{true, false}, ""},
		{"10.0.0.0/8", "true", false, "[10.0.0.0/8]", [2]bool{}, "--iptables-localhost-nodeports: true has no effect"},
		{"primary", "true", true, "[]", [2]bool{}, "--iptables-localhost-nodeports: true has no effect"},
		{"primary,localhost", "false", true, "[127.0.0.0/8 ::1/128]", [2]bool{false, true}, "--iptables-localhost-nodeports: false keeps"},
	}
	for _, tt := range tests {
		args := []string{"--nodeport-addresses=" + tt.addresses}
		if tt.flag != "" {
			args = append(args, "--iptables-localhost-nodeports="+tt.flag)
		}
		c := mustLoad(t, "", args...)
		if c.PrimaryNodePorts != tt.primary || text(c.NodePortAddresses) != tt.want || c.Localhost != tt.localhost {
			t.Errorf("%v: primary %t, %s, localhost %v", args, c.PrimaryNodePorts, text(c.NodePortAddresses), c.Localhost)
		}
		if tt.warning == "" && len(c.Warnings) > 0 || tt.warning != "" && (len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], tt.warning)) {
			t.Errorf("%v: %q, want %q", args, c.Warnings, tt.warning)
		}
	}
	for _, bad := range []string{"primary,primary", "eth0", "localhost,10.0.0.1"} {
		if _, err := load(t, "", "--nodeport-addresses", bad); err == nil || !strings.Contains(err.Error(), "--nodeport-addresses") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// A DaemonSet with any flag of kube-proxy must start, and is told which of
// them do nothing.
func TestIgnoredFlags(t *testing.T) {
	for name, bare := range ignoredFlags {
		arg := "--" + name
		if bare == "" {
			arg += "=1s"
		}
		c := mustLoad(t, "", arg)
		if !slices.ContainsFunc(c.Warnings, func(w string) bool { return strings.HasPrefix(w, "--"+name+":") }) {
			t.Errorf("%s: %q", arg, c.Warnings)
		}
		if diff := cmp.Diff(mustLoad(t, ""), c, values); diff != "" {
			t.Errorf("%s changes something:\n%s", arg, diff)
		}
	}
}

// KEP-5707: externalIPs can be forbidden.
func TestExternalIPs(t *testing.T) {
	for arg, want := range map[string]bool{"--feature-gates=AllowServiceExternalIPs=false": true, "--feature-gates=AllowServiceExternalIPs=true": false, "--v=1": false} {
		if got := mustLoad(t, "", arg).NoExternalIPs; got != want {
			t.Errorf("%s: no external IPs: %v", arg, got)
		}
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct {
		args []string
		want string // part of the only warning; empty: none
	}{
		{nil, ""},
		{[]string{"--feature-gates=KubeProxyIPVS=true,AllowServiceExternalIPs=true"}, ""},
		{[]string{"--feature-gates=AllowServiceExternalIPs=false"}, ""},
		{[]string{"--feature-gates=Foo=true"}, "Foo=true has no effect"},
		{[]string{"--ipvs-exclude-cidrs=10.0.0.0/8"}, "--ipvs-exclude-cidrs: "},
		{[]string{"--ipvs-exclude-cidrs=10.0.0.0/8", "--takeover"}, ""},
		{[]string{"--healthz-port=1"}, "deprecated"},
		{[]string{"--show-hidden-metrics-for-version=1.30"}, "--show-hidden-metrics-for-version: "},
		{[]string{"--manifests=x", "--master=https://a"}, "--master: "},
		{[]string{"--healthz-bind-address=127.0.0.1:1", "--metrics-bind-address=127.0.0.1:1"}, "--metrics-bind-address: 127.0.0.1:1 is also the address of healthz"},
		{[]string{"--cluster-cidr=0.0.0.0/0,::/0"}, ""},
		{[]string{"--cluster-cidr=192.0.0.0/2"}, "--cluster-cidr: 192.0.0.0/2 contains the image prefix 240.0.0.0/5 (--image-prefix): endpoints in it cannot be reached"},
		{[]string{"--conntrack-tcp-timeout-established=876000h"}, "--conntrack-tcp-timeout-established: 876000h0m0s is more than a kernel can count; 596h31m23s counts"},
		{[]string{"--ipvs-udp-timeout=1500ms"}, "--ipvs-udp-timeout: 1.5s is not a whole number of seconds; 1s counts"},
		{[]string{"--detect-local-mode=NodeCIDR", "--cluster-cidr=10.0.0.0/16,10.1.0.0/16"}, "--cluster-cidr: it has no effect with detectLocalMode NodeCIDR: "},
		{[]string{"--detect-local-mode=NodeCIDR", "--cluster-cidr=244.0.0.0/16", "--pod-bridge-interface=a name that is no interface's"}, ""},
	}
	for _, tt := range tests {
		got := mustLoad(t, "", tt.args...).Warnings
		if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)) {
			t.Errorf("%v: %q, want %q", tt.args, got, tt.want)
		}
	}
}
