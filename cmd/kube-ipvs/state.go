package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"text/tabwriter"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
)

func stateCommand(ctx context.Context, args []string, out io.Writer) (int, error) {
	var o options
	var format string
	fs := newFlags("state", `
Prints what is programmed on this node, read from the kernel and grouped by
Service: each address that clients dial, and the virtual server that ipvsadm
shows for it with its endpoints. No kube-ipvs need be running.`, out)
	fs.StringVarP(&format, "output", "o", "text", "text or json")
	o.addImages(fs)
	if err := fs.Parse(args); err != nil {
		return exitUsage, err
	}
	if fs.NArg() > 0 || format != "text" && format != "json" {
		return exitUsage, fmt.Errorf("usage: kube-ipvs state [-o text|json]")
	}
	images, err := o.imagePrefixes()
	if err != nil {
		return exitUsage, err
	}
	c := desired.Config{Images: images, IPv6: kernel.HasIPv6()}
	view, err := readState(ctx, c)
	if err != nil {
		return exitFailed, err
	}
	if format == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return exitOK, e.Encode(view)
	}
	view.print(out)
	return exitOK, nil
}

// nodeState is what is programmed, as the state command shows it.
type nodeState struct {
	Services []serviceState `json:"services"`
	VIPs     []netip.Addr   `json:"vips"`
	// Unpublished virtual servers are ours and stand behind no frontend: those
	// of a start that was cut short, for example.
	Unpublished []serverState  `json:"unpublished,omitempty"`
	Objects     map[string]int `json:"objects"`
}

// serviceState is one port of a Service.
type serviceState struct {
	Service   string          `json:"service"` // namespace/name:port
	Frontends []frontendState `json:"frontends"`
}

// frontendState is one address that clients dial.
type frontendState struct {
	Kind     string        `json:"kind"`
	Address  string        `json:"address"` // node ports: *:PORT
	Protocol string        `json:"protocol"`
	Notes    []string      `json:"notes,omitempty"` // such as "refused: no endpoint"
	Servers  []serverState `json:"virtualServers"`
}

// serverState is one virtual server, as ipvsadm shows it.
type serverState struct {
	Address   string          `json:"address"`
	Protocol  string          `json:"protocol"`
	For       string          `json:"for,omitempty"` // whose traffic it takes, where there are two
	Scheduler string          `json:"scheduler"`
	Affinity  uint32          `json:"affinitySeconds,omitempty"`
	Endpoints []endpointState `json:"endpoints"`
}

// endpointState is one real server.
type endpointState struct {
	Address     netip.AddrPort `json:"address"`
	Weight      uint32         `json:"weight"` // 0: drains
	Connections uint32         `json:"connections"`
}

func readState(ctx context.Context, c desired.Config) (*nodeState, error) {
	k, err := kernel.OpenLinux(ctx, kernel.Options{IPv6: c.IPv6})
	if err != nil {
		return nil, err
	}
	defer k.Close()
	s, err := k.Read(ctx)
	if err != nil {
		return nil, err
	}
	conns, err := k.Connections(ctx, realServers(s))
	if err != nil {
		return nil, err
	}
	return arrange(c, s, conns), nil
}

func realServers(s *state.State) []state.ID {
	var reals []state.ID
	for id := range s.All() {
		if id.Kind == state.RealServer {
			reals = append(reals, id)
		}
	}
	return reals
}

func (n *nodeState) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, s := range n.Services {
		fmt.Fprintf(w, "%s\n", s.Service)
		for _, f := range s.Frontends {
			fmt.Fprintf(w, "  %s\t%s/%s\n", f.Kind, f.Address, f.Protocol)
			for _, note := range f.Notes {
				fmt.Fprintf(w, "    %s\n", note)
			}
			for _, v := range f.Servers {
				v.print(w)
			}
		}
	}
	if len(n.Unpublished) > 0 {
		fmt.Fprintln(w, "virtual servers of ours without a frontend")
		for _, v := range n.Unpublished {
			v.print(w)
		}
	}
	_ = w.Flush()
	fmt.Fprintf(out, "%d virtual servers, %d real servers, %d VIPs on %s, %d set entries\n", n.Objects["virtual server"],
		n.Objects["real server"], n.Objects["vip"], kernel.LinkName, n.Objects["entry"])
}

func (v serverState) print(w io.Writer) {
	about := v.Scheduler
	if v.Affinity > 0 {
		about += fmt.Sprintf(", affinity %ds", v.Affinity)
	}
	if v.For != "" {
		about += ", " + v.For
	}
	fmt.Fprintf(w, "    virtual server\t%s/%s\t%s\n", v.Address, v.Protocol, about)
	for _, e := range v.Endpoints {
		about := fmt.Sprintf("weight %d, %d connections", e.Weight, e.Connections)
		if e.Weight == 0 {
			about += ", draining"
		}
		fmt.Fprintf(w, "      endpoint\t%s\t%s\n", e.Address, about)
	}
}
