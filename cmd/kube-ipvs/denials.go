package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
)

// fromIPVS reports whether kube-proxy's mode ipvs has the node. In its other modes, as with
// kube-ipvs, rules in INPUT do not see packets to Services.
func fromIPVS(ctx context.Context) (bool, error) {
	found, err := kernel.FindKubeProxy(ctx)
	return slices.Contains(found.Modes, "ipvs"), err
}

// takeoverText returns the lines that follow a plan for a takeover.
func takeoverText(ctx context.Context, k *kernel.Linux, p *desired.Preview) (string, error) {
	var out strings.Builder
	err := printLeft(ctx, &out)
	if err == nil {
		err = printDenials(ctx, &out, k, p)
	}
	return out.String(), err
}

// printLeft prints, after a plan for a takeover, the objects of kube-proxy that will be removed
// and that the plan does not list: all but virtual servers and addresses.
func printLeft(ctx context.Context, out io.Writer) error {
	found, err := kernel.FindKubeProxy(ctx)
	if err != nil {
		return fmt.Errorf("look for kube-proxy: %w", err)
	}
	if found.Any() {
		fmt.Fprintf(out, "kube-proxy: when all of this is programmed, its chains, tables and ipsets are removed; "+
			"addresses and virtual servers that no Service needs go when their connections have ended. Found: %s\n", found)
	}
	return nil
}

// printDenials prints, after a plan for a takeover, the rules of the node's firewall that will
// no longer apply to packets to Services.
func printDenials(ctx context.Context, out io.Writer, k *kernel.Linux, p *desired.Preview) error {
	ipvs, err := fromIPVS(ctx)
	if err != nil || !ipvs {
		return err
	}
	node, err := k.Addresses()
	if err != nil {
		return err
	}
	s := kernel.NewServed(node)
	for _, op := range p.Plan {
		if op.Verb != state.Delete {
			s.Add(op.ID)
		}
	}
	for id := range p.Actual.All() {
		s.Add(id)
	}
	named, more, err := kernel.Denials(ctx, s)
	if err != nil { // only advice: the plan is good without it
		fmt.Fprintln(out, "firewall: its rules could not be read:", err)
	}
	for _, rule := range named {
		fmt.Fprintln(out, "firewall: applies to no Service any more:", rule)
	}
	if more > 0 {
		fmt.Fprintf(out, "firewall: and %d more\n", more)
	}
	return nil
}

// tellDenials logs the same rules at a takeover.
func (d *daemon) tellDenials(ctx context.Context) {
	ipvs, err := fromIPVS(ctx)
	if err == nil && !ipvs {
		return
	}
	var named []string
	var more int
	s, failed := kernel.ServedNow(ctx)
	if err == nil {
		err = failed
	}
	if err == nil {
		named, more, err = kernel.Denials(ctx, s)
	}
	if err != nil {
		d.log.Warn("the node's firewall could not be read: rules in INPUT do not apply to Services any more", "err", err)
	}
	for _, rule := range named {
		d.log.Warn("a rule in INPUT applies to no Service any more", "rule", rule)
	}
	if more > 0 {
		d.log.Warn("more rules in INPUT apply to no Service any more", "number", more)
	}
}
