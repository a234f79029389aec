package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
	"kube-ipvs/proxier/status"
)

func stateCommand() *cobra.Command {
	var o options
	var format string
	c := newCommand("state", "print what is programmed on this node, by Service", `
Prints the programmed objects of this node, read from the kernel and grouped by
Service: each address that clients dial, and the virtual server that ipvsadm
shows for it with its endpoints. No kube-ipvs need be running.`, noArguments, func(c *cobra.Command, _ []string) error {
		images, err := o.imagePrefixes()
		if err != nil {
			return err
		}
		ctx, d := c.Context(), desired.Config{Images: images, IPv6: netutil.HasIPv6()}
		view, err := ask(ctx, warnOn(os.Stderr), "read the objects", func() (*status.Node, error) { return readState(ctx, d) })
		if err != nil {
			return err
		}
		if format == "json" {
			return writeJSON(c.OutOrStdout(), view)
		}
		printState(c.OutOrStdout(), view)
		return nil
	})
	outputFlag(c.Flags(), &format, "text", "json")
	o.addImages(c.Flags())
	return c
}

// writeJSON writes v as JSON for people and programs.
func writeJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func readState(ctx context.Context, c desired.Config) (*status.Node, error) {
	v := kernel.NewView(c.IPv6)
	defer v.Close()
	s, connections := &state.State{}, map[state.ID]status.Connections{}
	err := v.Each(ctx, func(id state.ID, spec state.SpecRef, active, inactive uint32) {
		s.Put(id, spec)
		if id.Kind == state.RealServer {
			connections[id] = status.Connections{Active: active, Inactive: inactive}
		}
	})
	if err != nil {
		return nil, err
	}
	return status.Arrange(c, s, connections), nil
}

func printState(out io.Writer, n *status.Node) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, s := range n.Services {
		fmt.Fprintf(w, "%s\n", s.Service)
		for _, f := range s.Frontends {
			fmt.Fprintf(w, "  %s\t%s\n", f.Kind, f.Dialled())
			for _, note := range f.Notes {
				fmt.Fprintf(w, "    %s\n", note)
			}
			for _, v := range f.Servers {
				printServer(w, v)
			}
		}
	}
	if len(n.Unpublished) > 0 {
		fmt.Fprintln(w, "virtual servers of kube-ipvs without a frontend")
		for _, v := range n.Unpublished {
			printServer(w, v)
		}
	}
	_ = w.Flush()
	fmt.Fprintf(out, "%d virtual servers, %d real servers, %d VIPs, %d set entries\n", n.Objects["virtual server"],
		n.Objects["real server"], n.Objects["vip"], n.Objects["entry"])
}

func printServer(w io.Writer, v status.Server) {
	about := v.Scheduler
	if v.Affinity > 0 {
		about += fmt.Sprintf(", affinity %ds", v.Affinity)
	}
	if v.For != "" {
		about += ", " + v.For
	}
	fmt.Fprintf(w, "    virtual server\t%s/%s\t%s\n", v.Address, v.Protocol, about)
	for _, e := range v.Endpoints {
		fmt.Fprintf(w, "      endpoint\t%s\tweight %d, %d connections%s\n", e.Address, e.Weight, e.Total, e.Note())
	}
}
