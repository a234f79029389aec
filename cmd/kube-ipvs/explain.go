package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/spf13/cobra"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/explain"
	"kube-ipvs/proxier/state"
)

func explainCommand() *cobra.Command {
	var o options
	var format, from string
	const toExplain = "name a Service, such as default/web, or what clients dial, such as 10.96.0.10:80"
	const summary = "tell the way of a packet to one Service, and the differences from the desired objects"
	c := newCommand("explain NAMESPACE/NAME[:PORT] | ADDRESS[:PORT][/PROTOCOL]", summary, `
Tells the way of a packet to one Service on this node, as the kernel has it
now: why the node takes the packet, which rules and set entries let it pass and
rewrite it, which virtual server gets it, why each endpoint of the Service is
chosen or not, which source the endpoint sees, and the differences from the
desired objects. The last line says what is wrong. ADDRESS is what clients dial:
a ClusterIP, load-balancer or external IP, or an address of this node with a
node port, or a node port alone (:30080). A mapped address, as ipvsadm shows it,
and an endpoint lead to their Services, too.
The other flags are those of "run". Without them, those of the log aside, the
configuration is that of the kube-ipvs that runs here; none need be running.`, oneArgument(toExplain), func(c *cobra.Command, args []string) error {
		q, err := explain.ParseQuery(args[0])
		client, wrong := clientAddress(from)
		if err = errors.Join(err, wrong); err != nil {
			return usage(err)
		}
		return o.explain(c, q, client, format)
	})
	outputFlag(c.Flags(), &format, "text", "json")
	c.Flags().StringVar(&from, "from", "", "tell the way of a client at this address, rule by rule")
	o.add(c.Flags())
	c.ValidArgsFunction = completeService
	return c
}

// explain prints the explanations of q. Its error is errDifferences if an object of one differs.
func (o *options) explain(c *cobra.Command, q explain.Query, from netip.Addr, format string) error {
	ctx := c.Context()
	return o.compared(ctx, func(k *counted, p *desired.Preview) error {
		all, err := ask(ctx, warnOn(os.Stderr), "read the rules and addresses", func() ([]*explain.Explanation, error) {
			return explained(ctx, k, p, q, from)
		})
		if err != nil {
			return err
		}
		return printExplanations(c.OutOrStdout(), all, format)
	})
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
func explained(ctx context.Context, k *counted, p *desired.Preview, q explain.Query, from netip.Addr) ([]*explain.Explanation, error) {
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

// printExplanations prints explanations, one after the other. Its error is errDifferences if an
// object of one differs.
func printExplanations(out io.Writer, all []*explain.Explanation, format string) error {
	differ := false
	for i, e := range all {
		differ = differ || !e.AsDesired
		if format == "json" {
			if err := writeJSON(out, e); err != nil {
				return err
			}
			continue
		}
		if i > 0 {
			fmt.Fprintln(out)
		}
		e.Print(out)
	}
	if differ {
		return errDifferences
	}
	return nil
}
