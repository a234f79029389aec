package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// Proxy is a service proxy that runs on both nodes.
type Proxy struct {
	Name    string // in the report
	Mode    string // kube-proxy's, or empty: it is kube-ipvs
	Servers string // kube-ipvs's clusterIPServers
	binary  string // of kube-ipvs
	dir     string
	variant Variant
	canary  canary
	running map[*testbed.Host]*testbed.Program
}

// The proxies. The others are compared with the first.
func proxies(binary, dir string) []*Proxy {
	return []*Proxy{
		{Name: "iptables", Mode: "iptables", dir: dir},
		{Name: "nftables", Mode: "nftables", dir: dir},
		{Name: "ipvs", Mode: "ipvs", dir: dir},
		{Name: "direct", Servers: "direct", binary: binary, dir: dir},
		{Name: "image", Servers: "image", binary: binary, dir: dir},
	}
}

// Ours tells whether it is kube-ipvs.
func (p *Proxy) Ours() bool { return p.Mode == "" }

// Start starts it on both nodes in a variant.
func (p *Proxy) Start(ctx context.Context, w *World, v Variant) error {
	p.variant, p.running = v, map[*testbed.Host]*testbed.Program{}
	for _, h := range []*testbed.Host{w.Node, w.Node2} {
		if err := p.StartOn(ctx, w, h); err != nil {
			return err
		}
	}
	return nil
}

// StartOn starts it on a node where it does not run, with the configuration
// that it had there, and waits until it says that it has programmed everything.
func (p *Proxy) StartOn(ctx context.Context, w *World, h *testbed.Host) error {
	config := filepath.Join(p.dir, fmt.Sprintf("%s-%s.yaml", p.Name, h.Name))
	if err := os.WriteFile(config, []byte(p.config(w, h)), 0o600); err != nil {
		return err
	}
	path, args, ready := p.binary, []string{"run", "--config=" + config}, "http://127.0.0.1:10256/readyz"
	if !p.Ours() {
		path, args, ready = w.Control.Peer("kube-proxy"), args[1:], "http://127.0.0.1:10256/healthz"
	}
	if p.variant == Legacy {
		path, args = "/usr/bin/env", append([]string{"PATH=" + p.legacyPath() + ":" + os.Getenv("PATH"), path}, args...)
	}
	program, err := w.Control.Run(ctx, h, path, ready, args...)
	p.running[h] = program
	return err
}

// Restart ends it on a node by SIGTERM, and starts it again.
func (p *Proxy) Restart(ctx context.Context, w *World, h *testbed.Host) error {
	if err := p.StopOn(w, h); err != nil {
		return err
	}
	return p.StartOn(ctx, w, h)
}

// StopOn ends it on a node by SIGTERM. The node stays programmed.
func (p *Proxy) StopOn(w *World, h *testbed.Host) error { return w.Control.Dismiss(p.running[h]) }

// Stop ends it on both nodes, and removes its objects there.
func (p *Proxy) Stop(ctx context.Context, w *World) error {
	var errs []error
	for _, h := range []*testbed.Host{w.Node, w.Node2} {
		errs = append(errs, w.Control.Dismiss(p.running[h]))
		if p.variant == Legacy {
			_, err := h.Shell(ctx, `for f in iptables-legacy ip6tables-legacy; do for t in raw mangle nat filter; do $f -t $t -F; $f -t $t -X; done; done`)
			errs = append(errs, err)
		}
		errs = append(errs, w.Control.WipeHost(ctx, h))
	}
	return errors.Join(errs...)
}

// config returns the configuration. kube-ipvs takes the fields that kube-proxy takes.
func (p *Proxy) config(w *World, h *testbed.Host) string {
	var out strings.Builder
	f := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	f("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration")
	f("hostnameOverride: %s\nclientConnection: {kubeconfig: %s, contentType: application/vnd.kubernetes.protobuf}", h.Name, w.Control.Kubeconfig(cluster.Admin))
	f("metricsBindAddress: 127.0.0.1:10249\nconntrack: {maxPerCore: 0}")
	if p.Mode != "" {
		f("mode: %s", p.Mode)
	} else {
		f("mode: ipvs")
	}
	if p.variant == NoClusterCIDR {
		f(`clusterCIDR: ""`)
	} else {
		f("clusterCIDR: %s,%s", w.PodCIDR4, w.PodCIDR6)
	}
	// Whatever it does within the interval counts as at once: a second is nothing
	// that iptables mode is to be proud of.
	localhost := ""
	if p.variant == LocalhostPorts {
		localhost = ", localhostNodePorts: true"
	}
	f("iptables: {masqueradeAll: %v, minSyncPeriod: 100ms, syncPeriod: 30s%s}", p.variant == MasqueradeAll, localhost)
	if !p.Ours() {
		f("nftables: {masqueradeAll: %v, minSyncPeriod: 100ms, syncPeriod: 30s}", p.variant == MasqueradeAll)
	}
	timeouts := ""
	if p.variant == ShortTimeouts {
		timeouts = ", tcpTimeout: 5s, tcpFinTimeout: 5s, udpTimeout: 5s"
	}
	f("ipvs: {minSyncPeriod: 100ms, syncPeriod: 30s%s}", timeouts)
	if p.Ours() {
		// The others look at all that there is in each of their syncPeriods.
		f("---\napiVersion: kube-ipvs/v1alpha1\nkind: KubeIPVSConfiguration\nclusterIPServers: %s\nauditPeriod: 30s", p.Servers)
	}
	return out.String()
}

// legacyPath returns a folder that has iptables-legacy under the names of iptables.
func (p *Proxy) legacyPath() string { return filepath.Join(p.dir, "legacy") }

func linkLegacy(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, what := range []string{"", "-save", "-restore"} {
			if err := os.Symlink("/usr/sbin/xtables-legacy-multi", filepath.Join(dir, name+what)); err != nil {
				return err
			}
		}
	}
	return nil
}

// log returns the last lines of its log.
func (p *Proxy) log() string {
	var out strings.Builder
	for h, program := range p.running {
		if program != nil {
			fmt.Fprintf(&out, "%s on %s said:\n%s\n", p.Name, h.Name, program.Log(15))
		}
	}
	return out.String()
}
