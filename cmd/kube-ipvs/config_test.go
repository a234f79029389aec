package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"kube-ipvs/proxier"
	"kube-ipvs/proxier/kernel"
)

const proxyHead = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigCommand(t *testing.T) {
	good, bad := file(t, proxyHead+"ipvs: {scheduler: rr}\nportRange: 1-2\n"), file(t, proxyHead+"ipvs: {schedular: rr}\nmode: iptables\nportRange: 1-2\n")
	over := file(t, proxyHead+"ipvs: {scheduler: lc, schedular: rr}\n")
	tests := []struct {
		name string
		args []string
		code int
		out  []string
		err  []string
	}{
		{"nothing", nil, exitOK, []string{"list the errors of a file"}, nil},
		{"another command", []string{"show"}, exitUsage, nil, []string{`unknown command "show"`}},
		{"help", []string{"--help"}, exitOK, []string{"print the effective configuration"}, nil},
		{"print", []string{"print", "--config", good, "--zone=a"}, exitOK, []string{"scheduler: rr # file " + good, "zone: a # flag --zone", "masqueradeBit: 14 # default"}, nil},
		{"print with underscores", []string{"print", "--config", good, "--cluster_cidr=10.0.0.0/8"}, exitOK, []string{"clusterCIDR: 10.0.0.0/8 # flag --cluster-cidr"}, nil},
		{"print JSON", []string{"print", "-o", "json"}, exitOK, []string{`"scheduler": "rr"`}, nil},
		{"print something else", []string{"print", "-o", "xml"}, exitUsage, nil, []string{`"xml" is neither yaml nor json`}},
		{"print a bad file", []string{"print", "--config", bad}, exitUsage, nil, []string{`mode: "iptables"`}},
		{"print what is read over", []string{"print", "--config", over}, exitOK, []string{"scheduler: lc # file " + over}, nil},
		{"print it with care", []string{"print", "--config", over, "--strict-config"}, exitUsage, nil, []string{"ipvs.schedular: unknown field"}},
		{"validate what is read over", []string{"validate", over}, exitFailed, nil, []string{"ipvs.schedular: unknown field"}},
		{"print an argument", []string{"print", "x"}, exitUsage, nil, []string{`"x" is not a flag`}},
		{"validate", []string{"validate", good}, exitOK, []string{"warning: " + good + ", document 1, line 4: portRange: ", "is valid\n"}, nil},
		{"validate with a flag", []string{"validate", good, "--proxy-mode=nftables"}, exitFailed, nil, []string{"--proxy-mode"}},
		{"validate a bad file", []string{"validate", bad}, exitFailed, []string{"warning: "}, []string{"ipvs.schedular: unknown field", `mode: "iptables"`}},
		{"validate nothing", []string{"validate"}, exitUsage, nil, []string{"name the FILE"}},
		{"validate two files", []string{"validate", good, bad}, exitUsage, nil, []string{strconv.Quote(bad) + " is too much"}},
		{"validate by flag", []string{"validate", good, "--config=" + good}, exitUsage, nil, []string{"--config"}},
		{"validate what is not there", []string{"validate", good + ".none"}, exitFailed, nil, []string{"the configuration file: open " + good + ".none: no such file"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errw bytes.Buffer
			if code := dispatch(append([]string{"config"}, tt.args...), &out, &errw); code != tt.code {
				t.Errorf("exit code %d, want %d; it said %s", code, tt.code, errw.String())
			}
			for _, want := range tt.out {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, out.String())
				}
			}
			for _, want := range tt.err {
				if !strings.Contains(errw.String(), want) {
					t.Errorf("no %q in\n%s", want, errw.String())
				}
			}
		})
	}
}

// What has no effect is told on standard error by what is not run, too: the rest of
// it can be read by programs.
func TestWarningsBesideWhatIsPrinted(t *testing.T) {
	path := file(t, proxyHead+"ipvs: {scheduler: rr}\nportRange: 1-2\n")
	for _, args := range [][]string{
		{"config", "print", "--config", path}, {"run", "--config", path, "--write-config-to", path + ".out"},
		{"plan", "--config", path, "--manifests", path + ".none"}, {"explain", "default/web", "--config", path, "--manifests", path + ".none"},
	} {
		stderr, err := os.Create(path + ".err")
		if err != nil {
			t.Fatal(err)
		}
		was := os.Stderr
		os.Stderr = stderr
		var out, errw bytes.Buffer
		dispatch(args, &out, &errw)
		os.Stderr = was
		_ = stderr.Close()
		told, err := os.ReadFile(path + ".err")
		if err != nil || strings.Count(string(told), "warning: "+path+", document 1, line 4: portRange: ") != 1 || strings.Contains(out.String(), "warning") {
			t.Errorf("%q: %q, %v; printed %s", args, told, err, out.String())
		}
	}
}

// What config print says is valid, and printed again it is the same but for
// where it comes from.
func TestPrintedConfigIsValid(t *testing.T) {
	for _, format := range []string{"yaml", "json"} {
		var out, errw, again bytes.Buffer
		if code := dispatch([]string{"config", "print", "-o", format, "--scheduler=wrr", "--cluster-cidr=10.0.0.0/8"}, &out, &errw); code != exitOK {
			t.Fatal(errw.String())
		}
		path := file(t, out.String())
		if code := dispatch([]string{"config", "print", "-o", format, "--config", path}, &again, &errw); code != exitOK {
			t.Fatal(errw.String())
		}
		if format == "json" && out.String() != again.String() {
			t.Errorf("first\n%s\nthen\n%s", out.String(), again.String())
		}
		if code := dispatch([]string{"config", "validate", path, "--scheduler=rr"}, &again, &errw); code != exitOK || strings.Contains(again.String(), "warning") {
			t.Errorf("exit code %d: %s%s", code, again.String(), errw.String())
		}
	}
}

// configured returns what the loop and the kernel are told.
func configured(t *testing.T, args ...string) (proxier.Config, kernel.Options) {
	t.Helper()
	var o options
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	o.add(fs)
	o.addInstead(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	c, k, err := o.config()
	if err != nil {
		t.Fatal(err)
	}
	return c, k
}

// The arguments of kubeadm's DaemonSet.
func TestDaemonSet(t *testing.T) {
	path := file(t, proxyHead+"mode: ipvs\nclusterCIDR: 10.244.0.0/16\nipvs: {scheduler: '', minSyncPeriod: 1s}\n")
	c, _ := configured(t, "--config="+path, "--hostname-override=Worker-1", "--v=2")
	if c.Desired.NodeName != "worker-1" || c.Desired.Scheduler != "rr" || c.Desired.PodCIDRs[0].String() != "10.244.0.0/16" || c.MinSyncPeriod.Seconds() != 1 {
		t.Errorf("%+v", c)
	}
	if c.Log.Enabled(t.Context(), -4) {
		t.Error("--v=2 logs what is for debugging")
	}
}

// Whatever a DaemonSet of kube-proxy may say, run knows.
func TestKubeProxyFlags(t *testing.T) {
	fs := runCommand().Flags()
	for name := range strings.FieldsSeq(`config hostname-override bind-address bind-address-hard-fail healthz-bind-address metrics-bind-address
		healthz-port metrics-port nodeport-addresses cluster-cidr detect-local-mode pod-bridge-interface pod-interface-name-prefix masquerade-all
		iptables-masquerade-bit ipvs-scheduler ipvs-sync-period ipvs-min-sync-period ipvs-exclude-cidrs ipvs-strict-arp ipvs-tcp-timeout
		ipvs-tcpfin-timeout ipvs-udp-timeout conntrack-max-per-core conntrack-min conntrack-tcp-timeout-established conntrack-tcp-timeout-close-wait
		conntrack-tcp-be-liberal conntrack-udp-timeout conntrack-udp-timeout-stream profiling kubeconfig master kube-api-content-type kube-api-qps
		kube-api-burst config-sync-period proxy-mode oom-score-adj feature-gates init-only cleanup cleanup-ipvs write-config-to logging-format v vmodule
		log-flush-frequency show-hidden-metrics-for-version iptables-sync-period iptables-min-sync-period iptables-localhost-nodeports proxy-port-range
		log-json-info-buffer-size log-json-split-stream log-text-info-buffer-size log-text-split-stream enable-dsr forward-healthcheck-vip network-name
		root-hnsendpoint-name source-vip windows-service version
		node-name node-ip zone scheduler manifests api-servers service-proxy-name traffic-metrics traffic-metrics-top takeover audit-period drain-timeout
		cluster-ip-servers iptables-backend image-prefix image-prefix-local image-prefix-nodeport image-prefix6 image-prefix-local6
		image-prefix-nodeport6 log-format verbose`) {
		if fs.Lookup(name) == nil {
			t.Errorf("there is no --%s", name)
		}
	}
}

func TestConversion(t *testing.T) {
	c, k := configured(t, "--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=veth", "--cluster-cidr=10.0.0.0/8",
		"--node-ip=10.0.0.1", "--bind-address=fd00::1", "-v")
	if c.Desired.PodInterface != "veth+" || c.Desired.PodCIDRs[0].IsValid() || c.NodeCIDR {
		t.Errorf("by prefix: %+v", c.Desired)
	}
	if len(k.NodeIPs) != 2 || k.NodeIPs[1] != netip.MustParseAddr("fd00::1") || !c.Log.Enabled(t.Context(), -4) {
		t.Errorf("node's addresses %v", k.NodeIPs)
	}
	c, k = configured(t, "--detect-local-mode=BridgeInterface", "--pod-bridge-interface=cbr0", "--node-ip=10.0.0.1", "--bind-address=10.0.0.2",
		"--nodeport-addresses=primary", "--iptables-backend=legacy")
	if c.Desired.PodInterface != "cbr0" || len(k.NodeIPs) != 1 || !c.PrimaryNodePorts || k.Backend != "legacy" || len(k.Images) != 6 {
		t.Errorf("by bridge: %+v, %+v", c, k)
	}
	if c, _ = configured(t, "--detect-local-mode=NodeCIDR"); !c.NodeCIDR || c.Desired.PodInterface != "" {
		t.Errorf("by the node's CIDRs: %+v", c)
	}
	if c, _ = configured(t); c.Desired.PodCIDRs[0].IsValid() || c.Desired.PodInterface != "" || c.NodeCIDR {
		t.Errorf("unknown pods: %+v", c.Desired)
	}
}

func TestWriteConfigTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.yaml")
	var out, errw bytes.Buffer
	if code := dispatch([]string{"--write-config-to", path, "--scheduler=sh"}, &out, &errw); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errw.String())
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 {
		t.Errorf("%v, mode %v", err, info.Mode())
	}
	c, _ := configured(t, "--config", path)
	if c.Desired.Scheduler != "sh" {
		t.Errorf("it wrote scheduler %s", c.Desired.Scheduler)
	}
	if code := dispatch([]string{"--write-config-to", filepath.Join(path, "x")}, &out, &errw); code != exitFailed || !strings.Contains(errw.String(), "--write-config-to: ") {
		t.Errorf("into a file as if it were a folder: exit code %d, %s", code, errw.String())
	}
}
