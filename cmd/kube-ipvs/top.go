package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/health"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
)

// topOptions are the flags of top.
type topOptions struct {
	interval time.Duration
	count    int // tables; 0: until interrupted
	rows     int
	format   string
	sort     string
}

// countersAge is how old the counters of IPVS may be: those that can be read are
// sums that the kernel makes every two seconds (net/netfilter/ipvs/ip_vs_est.c).
const countersAge = 2 * time.Second

func topCommand(ctx context.Context, args []string, out io.Writer) (int, error) {
	var o options
	var top topOptions
	fs := newFlags("top", `
Shows the busiest Services of this node: connections that are open, new ones,
packets and bytes a second, from two readings of IPVS's counters. On a terminal
it goes on until it is interrupted. No kube-ipvs need be running.
What IPVS does not see in full is shown as "-": behind an image (node ports,
load-balancer and external IPs, and all with --cluster-ip-servers=image)
conntrack carries a connection past it after the first packet.`, out)
	fs.DurationVar(&top.interval, "interval", countersAge, "time between two readings; the longer, the steadier the rates")
	fs.IntVar(&top.count, "count", 0, "how many tables to print; 0: until interrupted on a terminal, else one")
	fs.IntVarP(&top.rows, "rows", "n", 20, "how many Services to show; 0: all")
	fs.StringVarP(&top.format, "output", "o", "text", "text, or json: one object a line")
	fs.StringVar(&top.sort, "sort", "new", "what to sort by: "+strings.Join(sortNames(), ", "))
	o.addImages(fs)
	if err := parse(fs, args); err != nil {
		return exitUsage, err
	}
	if err := top.check(); err != nil {
		return exitUsage, err
	}
	images, err := o.imagePrefixes()
	if err != nil {
		return exitUsage, err
	}
	terminal := isTerminal(out)
	if top.count == 0 && !terminal {
		top.count = 1
	}
	reader, err := openTop(desired.Config{Images: images, IPv6: kernel.HasIPv6()})
	if err != nil {
		return exitFailed, err
	}
	defer reader.close()
	return result(top.run(ctx, reader, out, terminal && top.format == "text"))
}

// check returns what is wrong with the flags.
func (o *topOptions) check() error {
	switch {
	case o.interval < countersAge:
		return fmt.Errorf("--interval: %s is shorter than %s, and the kernel sums its counters up no sooner", o.interval, countersAge)
	case o.count < 0:
		return fmt.Errorf("--count: %d is negative", o.count)
	case o.rows < 0:
		return fmt.Errorf("--rows: %d is negative", o.rows)
	case o.format != "text" && o.format != "json":
		return fmt.Errorf("--output: %q is neither text nor json", o.format)
	case orders[o.sort] == nil:
		return fmt.Errorf("--sort: %q is none of %s", o.sort, strings.Join(sortNames(), ", "))
	}
	return nil
}

// isTerminal reports whether out is one.
func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// run reads, waits and prints until there are enough tables or ctx ends.
func (o *topOptions) run(ctx context.Context, reader health.TrafficReader, out io.Writer, refresh bool) error {
	var meter health.Meter
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	for printed := 0; o.count == 0 || printed < o.count; {
		rows, err := reader.Traffic(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		if rates := meter.Take(rows, now); rates != nil {
			t := newTopTable(rates, o, now)
			if refresh {
				fmt.Fprint(out, "\x1b[H\x1b[2J") // home, and clear what was there
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

// topReader reads counters and knows whose they are. The names come from the
// comments of set entries.
type topReader struct {
	config  desired.Config
	traffic *kernel.Traffic
	names   map[state.ID][2]string // namespace and name, by virtual server
}

func openTop(c desired.Config) (*topReader, error) {
	t, err := kernel.OpenTraffic()
	if err != nil {
		return nil, err
	}
	return &topReader{config: c, traffic: t}, nil
}

func (r *topReader) close() { _ = r.traffic.Close() }

// Traffic is part of health.TrafficReader.
func (r *topReader) Traffic(context.Context) ([]health.Traffic, error) {
	servers, err := r.traffic.Servers()
	if err != nil {
		return nil, err
	}
	// Sets are read again only when there is a virtual server that has no name.
	for id := range servers {
		if _, known := r.names[id]; known {
			continue
		}
		entries, err := kernel.Published(r.config.IPv6)
		if err != nil {
			return nil, err
		}
		r.names = serverNames(r.config, entries)
		for id := range servers {
			if _, known := r.names[id]; !known {
				r.names[id] = [2]string{"", "(unpublished)"}
			}
		}
		break
	}
	rows := make([]health.Traffic, 0, len(servers))
	for id, c := range servers {
		rows = append(rows, health.Traffic{
			Namespace: r.names[id][0], Service: r.names[id][1], Of: id, Whole: r.config.SeesAll(id), Connections: c.Connections,
			PacketsIn: c.PacketsIn, PacketsOut: c.PacketsOut, BytesIn: c.BytesIn, BytesOut: c.BytesOut, Active: c.Active, Inactive: c.Inactive,
		})
	}
	return rows, nil
}

// serverNames returns for which Service each virtual server stands, in either
// mode: the counters tell which of them are there.
func serverNames(c desired.Config, entries *state.State) map[state.ID][2]string {
	a := arranger{config: c, state: entries}
	out := map[state.ID][2]string{}
	for id := range entries.All() {
		if id.Kind != state.Entry || !id.Set.Publishes() {
			continue
		}
		namespace, name, _ := strings.Cut(a.name(id), "/")
		name, _, _ = strings.Cut(name, ":")
		if name == "" {
			namespace, name = "", namespace
		}
		for _, mode := range []desired.Mode{desired.Direct, desired.Image} {
			c.Mode = mode
			for _, server := range c.Servers(id) {
				out[server] = [2]string{namespace, name}
			}
		}
	}
	return out
}
