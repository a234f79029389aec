package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/spf13/pflag"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/config"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/explain"
	"kube-ipvs/proxier/state"
)

func explainCommand(ctx context.Context, args []string, out io.Writer) (int, error) {
	var o options
	var format, from string
	fs := newFlags("explain NAMESPACE/NAME[:PORT] | IP:PORT[/PROTOCOL]", `
Tells the way of a packet to one Service on this node, as the kernel has it
now: why the node takes the packet, which rules and set entries let it pass and
rewrite it, which virtual server gets it, why each endpoint of the Service is
chosen or not, which source the endpoint sees, and the differences from the
desired objects. IP:PORT is the address that clients dial: a ClusterIP,
load-balancer or external IP, or an address of this node with a node port.
The other flags are those of "run". No kube-ipvs need be running.
Exit code: 0 no object differs, 2 some differ, 1 failed, 64 wrong usage.`, out)
	fs.StringVarP(&format, "output", "o", "text", "text or json")
	fs.StringVar(&from, "from", "", "tell the way of a client at this address, rule by rule")
	o.add(fs)
	query, err := oneArgument(fs, args)
	if err != nil {
		return exitUsage, err
	}
	if format != "text" && format != "json" {
		return exitUsage, fmt.Errorf("--output: %q is neither text nor json", format)
	}
	q, err := explain.ParseQuery(query)
	if err != nil {
		return exitFailed, err
	}
	client, err := clientAddress(from)
	if err != nil {
		return exitFailed, err
	}
	return o.compared(ctx, func(k *counted, p *desired.Preview) (int, error) {
		e, err := ask(ctx, warnOn(os.Stderr), "read the rules and addresses", func() (*explain.Explanation, error) {
			return explained(ctx, k, p, q, client)
		})
		if err != nil {
			return exitFailed, err
		}
		if err := printExplanation(out, e, format); err != nil {
			return exitFailed, err
		}
		if !e.AsDesired {
			return exitDifferences, nil
		}
		return exitOK, nil
	})
}

// oneArgument parses the flags, and returns the one argument.
func oneArgument(fs *pflag.FlagSet, args []string) (string, error) {
	if err := fs.Parse(config.JoinVerbosity(args)); err != nil {
		return "", err
	}
	switch fs.NArg() {
	case 0:
		return "", fmt.Errorf("name a Service, such as default/web, or what clients dial, such as 10.96.0.10:80")
	case 1:
		return fs.Arg(0), nil
	}
	return "", fmt.Errorf("one Service at a time: %q is too much", fs.Arg(1))
}

func clientAddress(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	if err == nil {
		err = explain.CheckFrom(a)
	}
	if err != nil {
		return a, fmt.Errorf("--from: %q is not the address of a client", text)
	}
	return a, nil
}

// explained reads the rules, addresses and connections, and explains.
func explained(ctx context.Context, k *counted, p *desired.Preview, q explain.Query, from netip.Addr) (*explain.Explanation, error) {
	var err error
	n := &explain.Node{
		Preview: p, Conns: k.connections,
		LinkOf: func(a netip.Addr) string {
			name, err := netutil.LinkTo(a)
			if err != nil {
				return ""
			}
			return name
		},
	}
	for _, family := range state.Families(true) {
		n.Rules[family] = p.Config.Rules(family)
		if spec, ok := p.Actual.Get(state.RulesID(family)); ok && spec.Value().Condition == state.Sound || family == state.IPv6 && !p.Config.IPv6 {
			continue // read and found equal
		}
		if n.Rules[family], n.Differ[family], err = k.Rules(ctx, family); err != nil {
			return nil, err
		}
	}
	if n.Addresses, err = k.Addresses(); err != nil {
		return nil, err
	}
	return n.Explain(q, from)
}

func printExplanation(out io.Writer, e *explain.Explanation, format string) error {
	if format == "json" {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(e)
	}
	e.Print(out)
	return nil
}
