package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/traffic"
)

// topOptions are the flags of top.
type topOptions struct {
	interval time.Duration
	count    int // tables; 0: until interrupted
	rows     int
	format   string
	sort     string
	flows    bool
	service  model.Key // whose endpoints top shows; zero: it shows Services
}

// countersAge is how old the counters of IPVS may be: the kernel sums them up every two seconds
// (net/netfilter/ipvs/ip_vs_est.c).
const countersAge = 2 * time.Second

func topCommand() *cobra.Command {
	var o options
	top := &topOptions{sort: "new"}
	c := newCommand("top [NAMESPACE/NAME]", "show the busiest Services of this node, or the endpoints of one", `
Shows the busiest Services of this node, or the endpoints of one with their
weights and limits: connections that are open, new ones, packets and bytes a
second, from two readings of IPVS's counters. On a terminal it goes on until it
is interrupted. No kube-ipvs need be running.
At a mapped address (node ports, load-balancer and external IPs, and all with
--cluster-ip-servers=image) conntrack carries a connection past IPVS after its
first packet. Open connections are then those of conntrack, and "-" stands for
numbers that IPVS does not count in full.`, cobra.ArbitraryArgs, func(c *cobra.Command, args []string) error {
		if err := errors.Join(top.of(args), top.check()); err != nil {
			return usage(err)
		}
		images, err := o.imagePrefixes()
		if err != nil {
			return err
		}
		out := c.OutOrStdout()
		terminal := isTerminal(out)
		if top.count == 0 && !terminal {
			top.count = 1
		}
		reader := openTop(desired.Config{Images: images, IPv6: netutil.HasIPv6()}, top.flows, top.service)
		err = top.run(c.Context(), reader, out, terminal && top.format == "text")
		return closeAnswered(reader.view, err)
	})
	fs := c.Flags()
	fs.DurationVar(&top.interval, "interval", countersAge, "time between two readings; the longer, the steadier the rates")
	fs.IntVar(&top.count, "count", 0, "how many tables to print; 0: until interrupted on a terminal, else one")
	fs.IntVarP(&top.rows, "rows", "n", 20, "how many Services or endpoints to show; 0: all")
	outputFlag(fs, &top.format, "text", "json")
	fs.Var(&choice{&top.sort, sortNames()}, "sort", "what to sort by: "+strings.Join(sortNames(), ", "))
	fs.BoolVar(&top.flows, "conntrack", true, "look for open connections in conntrack where IPVS does not see them: lists its whole table each time")
	o.addImages(fs)
	c.ValidArgsFunction = completeService
	return c
}

// of takes the arguments: none, or a Service.
func (o *topOptions) of(args []string) error {
	if len(args) == 0 {
		return nil
	}
	namespace, name, ok := strings.Cut(args[0], "/")
	if !ok || namespace == "" || name == "" || strings.ContainsAny(name, "/:") || len(args) > 1 {
		return fmt.Errorf("%q is not one Service: write NAMESPACE/NAME", strings.Join(args, " "))
	}
	o.service = model.Key{Namespace: namespace, Name: name}
	return nil
}

// check returns the first fault of the flags, or nil.
func (o *topOptions) check() error {
	switch {
	case o.interval < countersAge:
		return fmt.Errorf("--interval: %s is shorter than %s, and the kernel sums its counters up no sooner", o.interval, countersAge)
	case o.count < 0:
		return fmt.Errorf("--count: %d is negative", o.count)
	case o.rows < 0:
		return fmt.Errorf("--rows: %d is negative", o.rows)
	}
	return nil
}

// isTerminal reports whether out is a terminal.
func isTerminal(out io.Writer) bool {
	if o, is := out.(*output); is {
		out = o.Writer
	}
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// counters has the numbers that top shows.
type counters interface {
	Rows(ctx context.Context) ([]traffic.Row, error)
	// Open returns the connections of each Service in conntrack, or nil if they are not
	// counted. A Service without connections may be missing.
	Open() (map[model.Key]uint64, error)
}

// run reads, waits and prints until there are enough tables or ctx ends.
func (o *topOptions) run(ctx context.Context, reader counters, out io.Writer, refresh bool) error {
	var rates traffic.Rates
	warn := warnOn(os.Stderr)
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	for printed := 0; o.count == 0 || printed < o.count; {
		rows, err := ask(ctx, warn, "read the counters", func() ([]traffic.Row, error) { return reader.Rows(ctx) })
		if err != nil {
			return err
		}
		now := time.Now()
		if taken := rates.Take(rows, now); taken != nil {
			open, err := ask(ctx, warn, "read conntrack", reader.Open)
			if err != nil {
				return err
			}
			t := newTopTable(taken, open, o, now)
			if refresh {
				fmt.Fprint(out, "\x1b[H\x1b[2J") // home, and clear the screen
			} else if printed > 0 && o.format == "text" {
				fmt.Fprintln(out)
			}
			if err := t.write(out, o.format); err != nil {
				return err
			}
			if printed++; printed == o.count {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	return nil
}
