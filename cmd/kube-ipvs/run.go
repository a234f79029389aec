package main

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"kube-ipvs/proxier/config"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/source"
)

func runCommand(ctx context.Context, args []string, out io.Writer) (int, error) {
	var o options
	fs := newFlags("run", `
Programs this node so that it serves the Services that the API server has, or
the manifests if there are any, and follows them: a change is programmed at
once. Stopping it (SIGTERM) leaves what is programmed in place; starting it
again over that writes nothing. Flags and --config are those of kube-proxy, and
some more.
It needs CAP_NET_ADMIN and a kernel with IPVS, ipset and iptables.`, out)
	o.add(fs)
	o.addInstead(fs)
	if err := parse(fs, args); err != nil {
		return exitUsage, err
	}
	if done, code, err := o.instead(ctx, out); done {
		return code, err
	}
	c, ko, err := o.config()
	if err != nil {
		return exitUsage, err
	}
	for _, w := range o.effective.Warnings {
		c.Log.Warn("configuration", "warning", w)
	}
	src, err := newSource(o.effective, c.Log)
	if err != nil {
		return exitFailed, err
	}
	k, err := kernel.OpenLinux(ctx, ko)
	if err != nil {
		return exitFailed, err
	}
	defer k.Close()
	if err := k.Check(ctx, c.Desired.Scheduler); err != nil {
		return exitFailed, err
	}
	if o.initOnly {
		return exitOK, nil
	}
	d, err := newDaemon(&o, c, k)
	if err != nil {
		return exitFailed, err
	}
	defer d.close()
	c.Log.Info("started", "version", version, "node", c.Desired.NodeName, "clusterIPServers", c.Desired.Mode,
		"iptables", k.Backend(), "manifests", o.effective.Manifests)
	return exitOK, d.run(ctx, src)
}

// newSource returns where objects come from: the manifests, or the API server
// if there are none.
func newSource(e *config.Config, log *slog.Logger) (source.Source, error) {
	if len(e.Manifests) > 0 {
		return source.Manifests(e.Manifests, log), nil
	}
	return nil, errors.New("no --manifests are given, and the API server cannot be followed yet")
}
