package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier"
	"kube-ipvs/proxier/config"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/node"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

func runCommand() *cobra.Command {
	var o options
	c := newCommand("run", "program this node and follow the Services until stopped", `
Programs this node to serve the Services of the API server, or of manifests if any
are given, and follows them: it programs a change at once. SIGTERM stops it and
leaves the programmed objects in place; a start over them writes nothing. SIGHUP
compares all objects with the kernel now. It takes the flags and --config of
kube-proxy, and some more.
It needs CAP_NET_ADMIN and CAP_NET_RAW, and a kernel with IPVS, ipset and iptables.`, noArguments, func(c *cobra.Command, _ []string) error {
		if done, err := o.instead(c); done {
			return err
		}
		return o.run(c.Context(), c.OutOrStdout())
	})
	o.add(c.Flags())
	o.addInstead(c.Flags())
	return c
}

// run loads the configuration, and programs the node or, with --init-only, prepares it.
func (o *options) run(ctx context.Context, out io.Writer) error {
	c, _, err := o.config()
	if err != nil {
		return err
	}
	for _, w := range o.effective.Warnings {
		c.Log.Warn("configuration", "warning", w)
	}
	if o.initOnly {
		return initOnly(ctx, c.Desired, o.effective, out)
	}
	from, err := openObjects(o.effective, c.Log)
	if err != nil {
		return usage(err)
	}
	c.Desired.Protected = source.Addresses(from.servers)
	err = run(ctx, o, c, from)
	if ctx.Err() != nil && err != nil {
		c.Log.Info("stopped during the start", "in", err)
		return nil
	}
	return err
}

// run makes sure that no other process programs the node, prepares the node, and runs the
// daemon until ctx ends.
func run(ctx context.Context, o *options, c proxier.Config, from *objects) error {
	e := o.effective
	o.current.Store(e)
	lock, err := node.Lock(o.identity())
	if err != nil {
		return err
	}
	defer lock.Close()
	warn := func(msg string, err error) { c.Log.Warn(msg, "err", err) }
	backend, err := loadKernel(ctx, e, warn)
	if err != nil {
		return err
	}
	if err := refuseKubeProxy(ctx, warn, e); err != nil {
		return err
	}
	listeners := listen(&c.Desired, c.Log)
	k, lacks, err := openKernel(ctx, c.Desired, e, backend, warn)
	if err != nil {
		return err
	}
	defer k.Close()
	for _, err := range lacks {
		c.Log.Warn("the node lacks something", "what", err)
	}
	if !c.Desired.IPv6 { // the kernel runs with ipv6.disable=1
		c.Log.Warn("IPv6 is switched off on this node: Services are served over IPv4 alone")
	}
	c.Desired.IPv6 = k.HasIPv6()
	d, err := newDaemon(o, c, k, from, listeners)
	if err != nil {
		return err
	}
	defer d.close()
	d.prepare()
	c.Log.Info("started", "version", version, "node", e.NodeName, "clusterIPServers", c.Desired.Mode, "iptables", k.Backend(), "source", from.name)
	warnOfNeighbours(c.Log.Warn, k, c.Desired, e.Own.VIPBinding)
	return d.run(ctx)
}

// loadKernel makes the kernel load its modules, and returns the variant of iptables in use.
func loadKernel(ctx context.Context, e *config.Config, warn warning) (netutil.Backend, error) {
	return askUnlocked(ctx, warn, "load the modules", func() (netutil.Backend, error) {
		return kernel.Load(ctx, e.IPTablesBackend)
	})
}

// openKernel opens the kernel, with the variant of iptables in use, and probes the features that
// kube-ipvs needs. lacks has the missing features that it can do without.
func openKernel(ctx context.Context, d desired.Config, e *config.Config, backend netutil.Backend, warn warning) (k *kernel.Linux, lacks []error, err error) {
	o := kernelOptions(e, d)
	o.Backend = backend
	if k, err = openLinux(ctx, warn, o); err != nil {
		return nil, nil, err
	}
	lacks, err = askUnlocked(ctx, warn, "try the features of the kernel", func() ([]error, error) {
		return k.Check(ctx, kernel.Needs{
			Scheduler: d.Scheduler, Rules: [2]string{d.Rules(state.IPv4), d.Rules(state.IPv6)}, Device: !d.NoDevice,
			OnlyIPv6: !e.PodCIDRs[state.IPv4].IsValid() && e.PodCIDRs[state.IPv6].IsValid(),
		})
	})
	if err != nil {
		return nil, nil, closeAnswered(k, err)
	}
	return k, lacks, nil
}

// openLinux opens the kernel.
func openLinux(ctx context.Context, warn warning, o kernel.Options) (*kernel.Linux, error) {
	return ask(ctx, warn, "open the kernel's interfaces", func() (*kernel.Linux, error) { return kernel.OpenLinux(ctx, o) })
}

// refuseKubeProxy returns an error if kube-proxy has the node, unless --takeover is set.
func refuseKubeProxy(ctx context.Context, warn warning, e *config.Config) error {
	if e.Own.Takeover {
		return nil
	}
	found, err := ask(ctx, warn, "read the objects of this node", func() (kernel.Found, error) { return kernel.FindKubeProxy(ctx) })
	if err != nil {
		return fmt.Errorf("look for kube-proxy: %w", err)
	}
	if found.Any() {
		return fmt.Errorf("kube-proxy is active on this node, or was not cleaned up (%s): stop it and run kube-ipvs with --takeover, which keeps connections, or run kube-proxy --cleanup", found)
	}
	return nil
}

// initOnly does the work that needs more rights than the daemon keeps: it makes the kernel load
// the modules that the daemon needs, and sets the sysctls, some of which come with a module.
func initOnly(ctx context.Context, d desired.Config, e *config.Config, out io.Writer) error {
	warn := warnOn(out)
	backend, err := loadKernel(ctx, e, warn)
	if err != nil {
		return err
	}
	k, lacks, err := openKernel(ctx, d, e, backend, warn)
	if err != nil {
		return err
	}
	defer k.Close()
	for _, err := range lacks {
		fmt.Fprintln(out, "warning:", err)
	}
	done, err := node.Setup(node.Config{Sysctls: append(loopSysctls(d), sysctls(e)...)})
	for _, text := range done.Changed {
		fmt.Fprintln(out, "set", text)
	}
	for _, text := range done.Warnings {
		fmt.Fprintln(out, "warning:", text)
	}
	return err
}

// loopSysctls returns the sysctls that the loop keeps.
func loopSysctls(d desired.Config) []node.Sysctl {
	var out []node.Sysctl
	for _, o := range desired.Skeleton(d) {
		if o.ID.Kind == state.Setting && o.ID.Setting.Path() != "" {
			out = append(out, node.Sysctl{Path: o.ID.Setting.Path(), Value: o.Spec.Value().Text})
		}
	}
	return out
}

// sysctls returns the sysctls that the start sets once.
func sysctls(e *config.Config) []node.Sysctl {
	ct := e.Conntrack
	out := node.ConntrackSysctls(node.ConntrackConfig{ // the loop keeps the other timeouts
		MaxPerCore: ct.MaxPerCore, Min: ct.Min, UDPTimeout: ct.UDPTimeout, UDPStreamTimeout: ct.UDPStreamTimeout, TCPBeLiberal: ct.TCPBeLiberal,
	}, node.Cores())
	out = append(out, node.RouteSysctls()...)
	if e.Proxy.IPVS.StrictARP {
		out = append(out, node.StrictARPSysctls()...)
	}
	return out
}
