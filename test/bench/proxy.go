package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	kube "kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// proxy is a service proxy that can run on the node.
type proxy struct {
	name      string // the subject of figures
	mode      string // kube-proxy's, or empty: it is kube-ipvs
	servers   string // kube-ipvs's clusterIPServers; its own default if empty
	routes    bool   // kube-ipvs has vipBinding route, and only its start is measured
	scheduler string // kube-proxy's for IPVS; its own default if empty
	lasting   bool   // kube-proxy does not write everything anew from time to time
	user      string // of the API server; an admin if empty

	program *testbed.Program // while it runs
	config  string           // its file
}

// peers are kube-proxy in each of its modes.
func peers() []*proxy {
	return []*proxy{{name: "iptables", mode: "iptables"}, {name: "nftables", mode: "nftables"}, {name: "ipvs", mode: "ipvs"}}
}

// chosen leaves those that are to be measured.
func (b *bench) chosen(all []*proxy) []*proxy {
	return slices.DeleteFunc(all, func(p *proxy) bool { return len(b.subjects) > 0 && !slices.Contains(b.subjects, p.name) })
}

// otherServers returns the value of clusterIPServers that is not the default of
// a kube-ipvs.
func otherServers(ctx context.Context, binary string) (string, error) {
	out, err := exec.CommandContext(ctx, binary, "config", "print", "--output=json").Output()
	if err != nil {
		return "", fmt.Errorf("config print: %w", err)
	}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var found any
		if err := decoder.Decode(&found); err != nil {
			return "", fmt.Errorf("config print: %w", err)
		}
		switch value(found, "clusterIPServers") {
		case "direct":
			return "image", nil
		case "image":
			return "direct", nil
		}
	}
	return "", errors.New("config print does not tell clusterIPServers")
}

// value finds a field anywhere in a document.
func value(in any, name string) any {
	switch in := in.(type) {
	case map[string]any:
		if v, ok := in[name]; ok {
			return v
		}
		for _, v := range in {
			if found := value(v, name); found != nil {
				return found
			}
		}
	case []any:
		for _, v := range in {
			if found := value(v, name); found != nil {
				return found
			}
		}
	}
	return nil
}

// start starts it on the node, and waits for nothing.
func (p *proxy) start(l *lab) error {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	p.config = filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(p.config, []byte(p.configuration(l)), 0o600); err != nil {
		return err
	}
	path, args := l.binary, []string{"run", "--config=" + p.config}
	if p.mode != "" {
		path, args = l.control.Peer("kube-proxy"), args[1:]
	}
	p.program, err = l.control.Launch(l.Node, path, args...)
	return err
}

// end ends it by SIGTERM. The node stays programmed.
func (p *proxy) end(l *lab) error {
	program := p.program
	p.program = nil
	return errors.Join(l.control.Dismiss(program), os.RemoveAll(filepath.Dir(p.config)))
}

// leave ends it, and gives the next one a new node.
func (p *proxy) leave(l *lab) error {
	return errors.Join(p.end(l), l.renew(context.Background()))
}

// configuration has only the fields that it needs to run here: all others have their
// defaults.
func (p *proxy) configuration(l *lab) string {
	var out strings.Builder
	f := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	f("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration")
	f("hostnameOverride: %s\nclientConnection: {kubeconfig: %s}", l.Node.Name, l.control.Kubeconfig(cmp.Or(p.user, kube.Admin)))
	f("clusterCIDR: %s,%s\nconntrack: {maxPerCore: 0}", l.PodCIDR4, l.PodCIDR6)
	switch {
	case p.mode != "":
		f("mode: %s", p.mode)
		if p.scheduler != "" {
			f("ipvs: {scheduler: %s}", p.scheduler)
		}
		if p.lasting {
			f("%s: {syncPeriod: 2h, minSyncPeriod: 1s}", p.mode)
		}
	case p.routes:
		f("---\napiVersion: kube-ipvs/v1alpha1\nkind: KubeIPVSConfiguration\nvipBinding: route")
	case p.servers != "":
		f("---\napiVersion: kube-ipvs/v1alpha1\nkind: KubeIPVSConfiguration\nclusterIPServers: %s", p.servers)
	}
	return out.String()
}

// cpu returns the CPU time since its start, with that of the programs that it
// has started. Of a process that has ended it is zero.
func (p *proxy) cpu() time.Duration {
	cpu, err := kube.CPUOf(p.program.PID())
	if err != nil {
		return 0
	}
	return cpu
}

const (
	glance  = 500 * time.Millisecond
	restful = 2 * kube.Tick // CPU time within a glance that is nothing
)

// rested waits until it has had nothing to do at some glances in a row. It
// returns since when, and false if that was not before the limit.
func (p *proxy) rested(ctx context.Context, limit time.Duration, glances int) (since time.Time, ok bool) {
	deadline := time.Now().Add(limit)
	since = time.Now()
	for last, quiet := p.cpu(), 0; quiet < glances; {
		select {
		case <-ctx.Done():
			return since, false
		case <-time.After(glance):
		}
		now := p.cpu()
		quiet++
		if now-last > restful {
			quiet, since = 0, time.Now()
		}
		if last = now; quiet == 0 && time.Now().After(deadline) {
			return since, false
		}
	}
	return since, true
}
