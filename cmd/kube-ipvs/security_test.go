package main

import (
	"net/http/httptest"
	"strings"
	"testing"

	"kube-ipvs/proxier/health"
)

// loaded returns the options of a command with their effective configuration.
func loaded(t *testing.T, args ...string) *options {
	t.Helper()
	o := flagged(t, args...)
	if err := o.load(); err != nil {
		t.Fatal(err)
	}
	return o
}

// The pages name the kubeconfig, and have none of its credentials.
func TestCredentialsAreNotServed(t *testing.T) {
	const secret = "not-to-be-served"
	kubeconfig := file(t, `{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: "https://10.0.0.9:6443"}}], `+
		`users: [{name: u, user: {token: `+secret+`}}], contexts: [{name: c, context: {cluster: c, user: u}}], current-context: c}`)
	o := loaded(t, "--hostname-override=node", "--kubeconfig="+kubeconfig)
	from, err := openObjects(o.effective, o.logger())
	if err != nil || from.servers[0].BearerToken != secret {
		t.Fatalf("%v: the kubeconfig has not given its token: this asks for nothing", err)
	}
	h := health.Pages{Config: o.effective.Documents, Flags: o.set, Profiling: true}.Handler()
	named := 0
	for _, page := range []string{"/configz", "/flagz", "/statusz", "/debug/pprof/cmdline"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", page, nil))
		if w.Code != 200 || strings.Contains(w.Body.String(), secret) {
			t.Errorf("%s: %d, %s", page, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), kubeconfig) {
			named++
		}
	}
	if named < 2 {
		t.Errorf("%d pages name the kubeconfig: the others are not what they should be", named)
	}
}

// Two sysctls that other service proxies change are left alone: with route_localnet other hosts
// reach programs at 127.0.0.1, and rp_filter is the node's own protection.
func TestSysctlsLeftAlone(t *testing.T) {
	for _, args := range [][]string{
		nil,
		{"--cluster-ip-servers=direct", "--ipvs-strict-arp"},
		{"--nodeport-addresses=localhost", "--conntrack-tcp-be-liberal"},
		{"--iptables-localhost-nodeports"},
	} {
		o := loaded(t, append(args, "--hostname-override=node")...)
		all := append(loopSysctls(desiredConfig(o.effective)), sysctls(o.effective)...)
		if len(all) == 0 {
			t.Fatalf("%q: no sysctl is set: this asks for nothing", args)
		}
		for _, s := range all {
			if strings.HasSuffix(s.Path, "/route_localnet") || strings.HasSuffix(s.Path, "/rp_filter") {
				t.Errorf("%q: %s is set", args, s.Path)
			}
		}
	}
}
