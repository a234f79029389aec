package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// conformFlags are those of conform.
type conformFlags struct {
	proxies, focus, nodes, out, document string
	together, runs                       int
	quick, rest                          bool
}

func readConformFlags(args []string) (conformFlags, error) {
	var f conformFlags
	flags := flag.NewFlagSet("conform", flag.ContinueOnError)
	flags.StringVar(&f.proxies, "proxies", "iptables image direct", "with a space between")
	flags.StringVar(&f.focus, "focus", "", "regular expression for names of specs; all that concern a proxy if empty")
	flags.StringVar(&f.nodes, "nodes", "3", "how many nodes; each is a zone of its own")
	flags.IntVar(&f.together, "together", atOnce, "how many specs are played at once")
	flags.IntVar(&f.runs, "runs", 1, "how often each proxy is played")
	flags.BoolVar(&f.quick, "quick", false, "only those that tell most")
	flags.BoolVar(&f.rest, "rest", false, "only those that have not passed by what the folder says")
	flags.StringVar(&f.out, "out", "out/e2e-results", "folder for PROXY.json and PROXY.log (PROXY.MMDD-HHMM.log of a run with failures), or PROXY.some.json and PROXY.some.log if not all specs are chosen")
	flags.StringVar(&f.document, "document", "", "Markdown file to write")
	return f, flags.Parse(args)
}

// whole reports whether all specs that concern a proxy are chosen.
func (f conformFlags) whole() bool { return f.focus == "" && !f.quick }

// file is where the results with a proxy go. Some specs do not take the place of all.
func (f conformFlags) file(proxy string) string {
	if !f.whole() {
		proxy += ".some"
	}
	return filepath.Join(f.out, proxy+".json")
}

// chosen is the regular expression for the specs that are to be played.
func (f conformFlags) chosen(s selection) string {
	switch {
	case f.quick:
		return strings.Join(s.Quick, "|")
	case f.focus != "":
		return f.focus
	}
	return strings.Join(s.Focus, "|")
}

// conform runs specs with one proxy after the other, each on a cluster of its own.
func conform(ctx context.Context, dir string, args []string) error {
	f, err := readConformFlags(args)
	if err != nil {
		return err
	}
	s, err := readSelection()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.out, 0o755); err != nil {
		return err
	}
	var errs []error
	p := play{Results: map[string]results{}}
	for _, proxy := range strings.Fields(f.proxies) {
		path := f.file(proxy)
		var err error
		for range f.runs {
			err = errors.Join(err, one(ctx, dir, f, proxy, f.chosen(s), path))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", proxy, err))
			continue
		}
		if err := p.read(proxy, path); err != nil {
			return err
		}
	}
	if f.document != "" && len(errs) == 0 {
		errs = append(errs, p.write(f.document, s))
	}
	return errors.Join(append(errs, p.failed(s))...)
}

// one brings a cluster up, has specs run on it, and takes it down.
func one(ctx context.Context, dir string, f conformFlags, proxy, focus, path string) (err error) {
	defer func() { err = errors.Join(err, down(context.WithoutCancel(ctx), dir)) }()
	if err := up(ctx, dir, []string{"--proxy", proxy, "--nodes", f.nodes, "--dual-stack"}); err != nil {
		return err
	}
	began := time.Now()
	ctx, stop := whileUp(ctx, dir)
	defer stop()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "--dir", dir, "specs", fmt.Sprintf("--together=%d", f.together),
		fmt.Sprintf("--last=%t", f.whole()), fmt.Sprintf("--rest=%t", f.rest), focus, path)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	err = cmd.Run()
	if cause := context.Cause(ctx); cause != nil {
		err = cause // the specs' exit code would stand for it
	}
	fmt.Fprintf(os.Stderr, "e2e: specs took %.0f s; what they said: %s\n", time.Since(began).Seconds(), strings.TrimSuffix(path, ".json")+".log")
	return err
}

// whileUp returns a context that ends with the cluster, with what its kernel has said last as
// the cause. Specs wait for hours for nodes that have gone.
func whileUp(ctx context.Context, dir string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		for ctx.Err() == nil {
			if _, ok := process(dir); !ok {
				cancel(fmt.Errorf("the cluster has ended by itself; its kernel said:\n%s", testbed.Tail(filepath.Join(dir, "log", "kernel.log"), 5)))
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}
