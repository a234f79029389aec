// Command demo shows kube-ipvs at work, on a real kernel, by real packets,
// and checks every sentence that it prints. It runs in the lab: see the demo
// target of the Makefile. With --dry it shows what can be shown anywhere, by a
// kernel in memory. It exits with 0 only if everything it claims was seen.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"kube-ipvs/test/lib/testbed"
)

// limit is far more than the demo takes.
const limit = 3 * time.Minute

func main() {
	var o options
	pflag.StringVar(&o.binary, "binary", "bin/kube-ipvs", "the program to show")
	pflag.StringVar(&o.examples, "examples", "examples", "folder of the manifests to show it with")
	pflag.StringVar(&o.colour, "color", "auto", "auto, always or never; auto means on a terminal")
	pflag.BoolVar(&o.dry, "dry", false, "show what takes neither IPVS nor root")
	pflag.StringVar(&o.statusPage, "status-page", "out/status.html", "file for the status page, with --dry")
	pflag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	show := run
	if o.dry {
		show = runDry
	}
	switch err := show(ctx, o, os.Stdout); {
	case errors.Is(err, errFalse):
		os.Exit(1) // the story has told it
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

type options struct {
	binary, examples, colour, statusPage string
	dry                                  bool
}

// errFalse says that the story ended at a claim that was false.
var errFalse = errors.New("a claim was false")

// step is a chapter of the story. Its error says which claim was not true.
type step struct {
	title string
	run   func(context.Context) error
}

func (d *demo) steps() []step {
	return []step{
		{"The cluster", d.cluster},
		{"kube-ipvs plan: what would it write?", d.plan},
		{"kube-ipvs run: the Service web, from a pod and from the node", d.start},
		{"From outside: node port, load-balancer IP, external IP", d.outside},
		{"UDP and TCP on one port: the Service dns", d.dns},
		{"Session affinity: the Service cart", d.affinity},
		{"Two address families: the Service hello", d.dualStack},
		{"No endpoints: the Service archive", d.refused},
		{"Scale web from 2 to 3, by editing a file", d.scale},
		{"A pod of web is deleted while a client talks to it", d.drain},
		{"A canary, least connection and slow start: the Service shop", d.balance},
		{"kube-ipvs is restarted", d.restart},
		{"Another program deletes behind our back", d.sabotage},
		{"What is programmed now", d.show},
		{"kube-ipvs cleanup: everything as before", d.cleanup},
	}
}

// run tells the story. It leaves nothing behind, also after a failure.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	p, err := newPage(out, o.colour)
	if err != nil {
		return err
	}
	d, err := newDemo(ctx, o, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	began := time.Now()
	steps := d.steps()
	for i, s := range steps {
		d.page.heading(i+1, s.title)
		if err := s.run(ctx); err != nil {
			d.page.failed(i+1, err)
			d.page.logs(d.daemons)
			d.page.end(fmt.Sprintf("Step %d of %d did not show what it claims; its log is above.", i+1, len(steps)))
			return errFalse
		}
	}
	d.page.end(fmt.Sprintf("All %d steps showed what they claim. It took %.0f s.", len(steps), time.Since(began).Seconds()))
	return nil
}

// newDemo builds the cluster and copies the manifests, for they are edited.
func newDemo(ctx context.Context, o options, p *page) (*demo, error) {
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return nil, err
	}
	bed, err := testbed.New(ctx)
	if err != nil {
		return nil, err
	}
	d := &demo{page: p, bed: bed, binary: binary, pods: map[string]func(){}}
	// On a real node the network plugin does this.
	_, err = bed.Node.Shell(ctx, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
	if err == nil {
		d.dir, err = os.MkdirTemp("", "manifests")
	}
	if err == nil {
		err = copyManifests(o.examples, d.dir)
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func copyManifests(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".yaml") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			return err
		}
		if err := testbed.Put(to, e.Name(), string(data)); err != nil {
			return err
		}
	}
	return nil
}
