package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/kube-proxy/config/v1alpha1"
)

// samples have for each field that is honoured a value that is not the
// default, as YAML and as its flag takes it.
var samples = map[string]struct{ yaml, flag string }{
	"featureGates":                        {"{KubeProxyIPVS: true}", "KubeProxyIPVS=true"},
	"clientConnection.kubeconfig":         {"/k", "/k"},
	"clientConnection.acceptContentTypes": {"application/json", ""},
	"clientConnection.contentType":        {"application/json", "application/json"},
	"clientConnection.qps":                {"2.5", "2.5"},
	"clientConnection.burst":              {"7", "7"},
	"logging.format":                      {"json", "json"},
	"logging.verbosity":                   {"6", "6"},
	"hostnameOverride":                    {"Node-1", "node-1"},
	"bindAddress":                         {"10.0.0.1", "10.0.0.1"},
	"healthzBindAddress":                  {"10.0.0.1", "10.0.0.1:10256"},
	"metricsBindAddress":                  {"none", ""},
	"bindAddressHardFail":                 {"yes", "true"},
	"enableProfiling":                     {"true", "true"},
	"mode":                                {"ipvs", "ipvs"},
	"iptables.masqueradeBit":              {"0", "0"},
	"iptables.masqueradeAll":              {"true", "true"},
	"iptables.localhostNodePorts":         {"true", "true"},
	"ipvs.syncPeriod":                     {"1m30s", "90s"},
	"ipvs.minSyncPeriod":                  {"2s", "2s"},
	"ipvs.scheduler":                      {"mh", "mh"},
	"ipvs.excludeCIDRs":                   {"[10.0.0.0/8, 'fd00::/8']", "10.0.0.0/8,fd00::/8"},
	"ipvs.strictARP":                      {"true", "true"},
	"ipvs.tcpTimeout":                     {"15m", "15m"},
	"ipvs.tcpFinTimeout":                  {"2m", "2m"},
	"ipvs.udpTimeout":                     {"5m", "5m"},
	"detectLocalMode":                     {"NodeCIDR", "NodeCIDR"},
	"detectLocal.bridgeInterface":         {"cbr0", "cbr0"},
	"detectLocal.interfaceNamePrefix":     {"veth", "veth"},
	"clusterCIDR":                         {"10.244.0.0/16,fd44::/64", "10.244.0.0/16, fd44::/64"},
	"nodePortAddresses":                   {"[192.168.0.0/16]", "192.168.0.0/16"},
	"oomScoreAdj":                         {"0", "0"},
	"conntrack.maxPerCore":                {"0", "0"},
	"conntrack.min":                       {"0", "0"},
	"conntrack.tcpEstablishedTimeout":     {"0s", "0"},
	"conntrack.tcpCloseWaitTimeout":       {"1m", "1m"},
	"conntrack.tcpBeLiberal":              {"true", "true"},
	"conntrack.udpTimeout":                {"30s", "30s"},
	"conntrack.udpStreamTimeout":          {"3m", "3m"},
	"configSyncPeriod":                    {"1h", "1h"},

	"clusterIPServers":            {"direct", "direct"},
	"manifests":                   {"[/m]", "/m"},
	"apiServers":                  {"['https://a:6443', 'b:1']", "https://a:6443,b:1"},
	"serviceProxyName":            {"mine", "mine"},
	"zone":                        {"'no'", "no"},
	"nodeIPs":                     {"[10.0.0.1, 'fd00::1']", "10.0.0.1,fd00::1"},
	"auditPeriod":                 {"1m", "1m"},
	"drainTimeout":                {"0s", "0s"},
	"maxServiceFrontends":         {"5", "5"},
	"iptablesBackend":             {"nft", "nft"},
	"vipBinding":                  {"route", "route"},
	"imagePrefixes.ipv4.cluster":  {"20.0.0.0/8", "20.0.0.0/8"},
	"imagePrefixes.ipv4.local":    {"11.0.0.0/8", "11.0.0.0/8"},
	"imagePrefixes.ipv4.nodePort": {"12.0.0.0/30", "12.0.0.0/30"},
	"imagePrefixes.ipv6.cluster":  {"fd01::/16", "fd01::/16"},
	"imagePrefixes.ipv6.local":    {"fd02::/16", "fd02::/16"},
	"imagePrefixes.ipv6.nodePort": {"fd03::/126", "fd03::/126"},
	"trafficMetrics":              {"endpoint", "endpoint"},
	"trafficMetricsTop":           {"5", "5"},
	"takeover":                    {"true", "true"},
}

// isOwn reports whether KubeIPVSConfiguration has a field.
func isOwn(path string) bool {
	for own := range leaves(defaults().document(ownKind)) {
		if own == path {
			return true
		}
	}
	return false
}

// inFile returns a file that sets one field.
func inFile(path, yaml string) string {
	head := proxyHead
	if isOwn(path) {
		head = ownHead
	}
	names := strings.Split(path, ".")
	for i, n := range names {
		head += strings.Repeat("  ", i) + n + ":"
		if i < len(names)-1 {
			head += "\n"
		}
	}
	return head + " " + yaml + "\n"
}

func TestEveryFieldIsClassified(t *testing.T) {
	have := map[string]bool{}
	for path := range leaves(reflect.ValueOf(&v1alpha1.KubeProxyConfiguration{}).Elem()) {
		have[path] = true
		if _, ok := classes[path]; !ok && specOf(path) == nil {
			t.Errorf("what becomes of %s?", path)
		}
	}
	for path, c := range classes {
		if !have[path] {
			t.Errorf("kube-proxy has no field %s", path)
		}
		if (c.effect == ignored) != (c.why != "") {
			t.Errorf("%s: does it need a warning?", path)
		}
	}
	for path := range leaves(reflect.ValueOf(&KubeIPVSConfiguration{}).Elem()) {
		if have[path] {
			t.Errorf("%s stands in both documents", path)
		}
	}
}

// What is honoured changes the configuration, in the same way from the file
// and from the flag.
func TestHonouredFields(t *testing.T) {
	plain := mustLoad(t, "")
	for path := range newLayers().fields {
		s, ok := samples[path]
		if c := classes[path]; c.effect != honoured {
			continue
		}
		if !ok {
			t.Errorf("%s has no sample", path)
			continue
		}
		got := mustLoad(t, inFile(path, s.yaml))
		if cmp.Equal(plain, got, values) && path != "mode" {
			t.Errorf("%s: %s changes nothing", path, s.yaml)
		}
		if origin := got.Origins[path]; origin != "file "+got.File {
			t.Errorf("%s comes from %q", path, origin)
		}
		flag := flagOf(path)
		if path == "clientConnection.acceptContentTypes" {
			continue // kube-proxy has no flag for it either
		}
		if diff := cmp.Diff(got, mustLoad(t, "", flag+"="+s.flag), values); diff != "" {
			t.Errorf("%s=%s is not what %s: %s is:\n%s", flag, s.flag, path, s.yaml, diff)
		}
	}
}

// Each field that is honoured is followed live or asks for a start, and one that is
// not live asks for it.
func TestChanges(t *testing.T) {
	plain := mustLoad(t, proxyHead)
	for path, s := range samples {
		live, restart := plain.Changes(mustLoad(t, inFile(path, s.yaml)))
		got := append(live, restart...)
		if path == "mode" && len(got) == 0 {
			continue // there is no other
		}
		if !slices.Contains(got, path) || len(live) != len(got) && isLive(path) && path != "iptables.localhostNodePorts" || len(restart) == 0 && !isLive(path) {
			t.Errorf("%s: %s: live %q, restart %q", path, s.yaml, live, restart)
		}
	}
	if live, restart := plain.Changes(mustLoad(t, proxyHead+"nodePortAddresses: [localhost]")); len(live) > 0 || len(restart) != 1 {
		t.Errorf("localhost: live %q, restart %q", live, restart)
	}
	if live, restart := plain.Changes(mustLoad(t, proxyHead+"portRange: 1-2\nipvs: {scheduler: rr}")); len(live)+len(restart) > 0 {
		t.Errorf("what changes nothing: live %q, restart %q", live, restart)
	}
	for _, spec := range specs {
		if _, ok := samples[spec.path]; spec.live && !ok {
			t.Errorf("there is no field %s", spec.path)
		}
	}
}

// What is ignored is told when set, and not told when it is what kube-proxy
// fills in.
func TestIgnoredFields(t *testing.T) {
	set := map[string]string{
		"logging.vmodule": "[{filePattern: a, verbosity: 1}]", "logging.options.text.splitStream": "true", "logging.options.text.infoBufferSize": "1Ki",
		"logging.options.json.splitStream": "true", "logging.options.json.infoBufferSize": "1Ki", "showHiddenMetricsForVersion": "'1.30'",
		"iptables.syncPeriod": "1s", "iptables.minSyncPeriod": "2s", "nftables.masqueradeBit": "1",
		"nftables.masqueradeAll": "true", "nftables.syncPeriod": "1s", "nftables.minSyncPeriod": "2s", "winkernel.networkName": "n", "winkernel.sourceVip": "v",
		"winkernel.enableDSR": "true", "winkernel.rootHnsEndpointName": "r", "winkernel.forwardHealthCheckVip": "true", "windowsRunAsService": "true", "portRange": "1-2",
		"logging.flushFrequency": "1s",
	}
	plain := mustLoad(t, "")
	for path, c := range classes {
		if c.effect == honoured {
			continue
		}
		got := mustLoad(t, inFile(path, set[path]))
		told := slices.ContainsFunc(got.Warnings, func(w string) bool { return strings.Contains(w, "line ") && strings.Contains(w, ": "+path+": ") })
		if told != (c.effect == ignored) || len(got.Warnings) > 1 {
			t.Errorf("%s: %q", path, got.Warnings)
		}
		if diff := cmp.Diff(plain, got, values); diff != "" {
			t.Errorf("%s changes something:\n%s", path, diff)
		}
		if usual := strings.Trim(c.usual, `"`); usual != "" {
			if w := mustLoad(t, inFile(path, c.usual)).Warnings; len(w) > 0 {
				t.Errorf("%s as usual: %q", path, w)
			}
		}
	}
}
