package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/source"
)

func runCommand(ctx context.Context, args []string, out io.Writer) (int, error) {
	var o options
	fs := newFlags("run", `
Programs this node so that it serves the Services in the manifests, and follows
the files: a change is programmed at once. Stopping it (SIGTERM) leaves what is
programmed in place; starting it again over that writes nothing.
It needs CAP_NET_ADMIN and a kernel with IPVS, ipset and iptables.`, out)
	o.add(fs)
	if err := parse(fs, args, &o); err != nil {
		return exitUsage, err
	}
	c, ko, err := o.config()
	if err != nil {
		return exitUsage, err
	}
	k, err := kernel.OpenLinux(ctx, ko)
	if err != nil {
		return exitFailed, err
	}
	defer k.Close()
	if err := k.Check(ctx, c.Desired.Scheduler); err != nil {
		return exitFailed, err
	}
	c.Log.Info("started", "version", version, "node", c.Desired.NodeName, "clusterIPServers", c.Desired.Mode,
		"iptables", k.Backend(), "manifests", o.manifests)
	return exitOK, follow(ctx, c, k, source.Manifests(o.manifests, c.Log))
}

// parse reads the flags and refuses what is no flag.
func parse(fs flagSet, args []string, o *options) error {
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%q is not a flag", fs.Arg(0))
	}
	if len(o.manifests) == 0 {
		return fmt.Errorf("--manifests is needed: a folder with Services and EndpointSlices")
	}
	return nil
}

type flagSet interface {
	Parse([]string) error
	NArg() int
	Arg(int) string
}

// follow runs the loop, its source and its watch of the node until ctx ends or
// one of them cannot go on.
func follow(ctx context.Context, c proxier.Config, k kernel.Kernel, src source.Source) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := proxier.New(k, c)
	var wg sync.WaitGroup
	failed := make(chan error, 2)
	for what, f := range map[string]func() error{
		"follow the manifests":                 func() error { return src.Run(ctx, p) },
		"watch the node's links and addresses": func() error { return netutil.Watch(ctx, kernel.LinkName, p.FactsChanged) },
	} {
		wg.Go(func() {
			if err := f(); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("%s: %w", what, err)
				cancel()
			}
		})
	}
	p.Run(ctx)
	wg.Wait()
	close(failed)
	var errs []error
	for err := range failed {
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		c.Log.Info("stopped; what is programmed stays")
	}
	return errors.Join(errs...)
}
