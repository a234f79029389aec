package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/node"
	"kube-ipvs/proxier/state"
)

func cleanupCommand() *cobra.Command {
	backend := "auto"
	c := newCommand("cleanup", "remove everything of kube-ipvs from this node, and only that", `
Removes all objects of kube-ipvs from this node: chains, sets, routes, addresses,
virtual servers and the device kube-ipvs0, unless another program uses it. It
touches nothing else. Sysctls stay, since other programs may rely on them. It may
run any number of times, but not while kube-ipvs runs.`, noArguments, func(c *cobra.Command, _ []string) error {
		return cleanUp(c.Context(), backend, c.OutOrStdout())
	})
	c.Flags().Var(&choice{&backend, []string{"nft", "legacy", "auto"}}, "iptables-backend", "variant of iptables to clean: nft, legacy or auto for both")
	return c
}

// cleanUp removes all objects of kube-ipvs, with the rules of one variant of iptables or, with
// auto, of both.
func cleanUp(ctx context.Context, backend string, out io.Writer) error {
	b, err := kernel.ParseBackend(backend)
	if err != nil {
		return usage(fmt.Errorf("--iptables-backend: %w", err))
	}
	lock, err := node.Lock(node.Identity{PID: os.Getpid(), Version: version, Started: time.Now()})
	if err != nil {
		return err // a running kube-ipvs would write everything again
	}
	defer lock.Close()
	warn := warnOn(os.Stderr)
	backends, err := ask(ctx, warn, "look for IPVS and iptables", func() ([]netutil.Backend, error) { return kernel.Loaded(ctx, b) })
	if err != nil {
		return err
	}
	// The kernel deletes no set that a rule of either variant names.
	removed := 0
	for _, b := range backends {
		n, err := cleanup(ctx, warn, b, func(id state.ID) bool { return id.Kind != state.Set })
		removed += n
		if err != nil {
			return err
		}
	}
	n, err := cleanup(ctx, warn, backends[0], func(state.ID) bool { return true })
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "removed %d objects\n", removed+n)
	return nil
}

// cleanup deletes the objects of kube-ipvs that meant returns true for, with the rules of one
// variant of iptables. It returns the number of deleted objects.
func cleanup(ctx context.Context, warn warning, b netutil.Backend, meant func(state.ID) bool) (removed int, err error) {
	k, err := openLinux(ctx, warn, kernel.Options{Backend: b, IPv6: netutil.HasIPv6(), NoLoad: true})
	if err != nil {
		return 0, err
	}
	defer func() { err = closeAnswered(k, err) }()
	have, err := ask(ctx, warn, "read the objects", func() (*state.State, error) {
		if err := k.RemoveScratch(ctx); err != nil {
			return nil, err
		}
		return k.Read(ctx)
	})
	if err != nil {
		return 0, err
	}
	var wants []state.Want
	for id := range have.All() {
		if meant(id) {
			wants = append(wants, state.Want{ID: id})
		}
	}
	plan := state.NewPlan(state.Diff(wants, have, noDrain{}))
	errs, err := ask(ctx, warn, "remove the objects", func() ([]error, error) { return k.Apply(ctx, plan), nil })
	if err != nil {
		return 0, err
	}
	var failed []error
	for i, op := range plan {
		if errs != nil && errs[i] != nil {
			failed = append(failed, fmt.Errorf("%s: %w", op, errs[i]))
		} else {
			removed++
		}
	}
	return removed, errors.Join(failed...)
}

type noDrain struct{}

func (noDrain) Draining(state.ID) bool { return false }
