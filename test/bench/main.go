// Command bench measures the cost of kube-ipvs, beside kube-proxy in each of its
// modes and beside the floor that the kernel sets, in one run. It runs in the lab:
// see the bench target of the Makefile. Nothing is asserted.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"kube-ipvs/test/lib/cluster"
)

// bench is a run.
type bench struct {
	binary, peers string
	small         bool
	subjects      []string // only these proxies are measured, if any are named
	results       *Results
}

// part is one of the parts of a run.
type part struct {
	name string
	run  func(context.Context, *bench) error
}

// The parts in the order in which they are run: the first four leave an empty node.
var parts = []part{
	{"control", control},
	{"requests", requests},
	{"data", data},
	{"balance", balance},
	{"reconciler", reconciler},
	{"addresses", addresses},
	{"conntrack", conntrack},
	{"userspace", userspace},
}

func main() {
	var out, docs, scale, step string
	var of size
	var only, with []string
	b := &bench{}
	pflag.StringVar(&b.binary, "binary", "bin/kube-ipvs", "the kube-ipvs to measure")
	pflag.StringVar(&b.peers, "peers", os.Getenv("KUBE_IPVS_PEERS"), "folder of etcd, kube-apiserver and kube-proxy, see test/peers/build")
	pflag.StringVar(&out, "out", "out", "folder to write bench.json to")
	pflag.StringVar(&docs, "docs", "", "file to write the report to, if all parts were run at full size; that of balance goes into balancing.md beside it")
	pflag.StringVar(&scale, "size", "full", "full or small")
	pflag.StringSliceVar(&only, "parts", nil, "run only these parts")
	pflag.StringSliceVar(&with, "with", nil, "run nothing: report what the bench.json of these runs say")
	pflag.StringSliceVar(&b.subjects, "subjects", nil, "measure only these proxies, such as kube-ipvs,ipvs")
	pflag.StringVar(&step, "step", "", "measure only this of the reconciler, in this network namespace, and print it")
	pflag.IntVar(&of.services, "services", 0, "Services of the step")
	pflag.IntVar(&of.endpoints, "endpoints", 0, "endpoints of each Service of the step")
	pflag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	b.small = scale == "small"
	b.results = &Results{Machine: machine(), Small: b.small}
	if step != "" {
		exit(b.step(ctx, step, of))
	}
	var err error
	if b.results.KubeProxy, err = cluster.KubeProxyVersion(ctx, b.peers); err != nil {
		exit(err)
	}
	if len(with) > 0 {
		err = b.include(with)
	} else {
		err = b.run(ctx, only)
	}
	// The measurements before a failure are kept, and may tell its cause.
	fmt.Print(b.results.tables())
	exit(errors.Join(err, b.results.write(out, docs)))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run runs the parts, or only some.
func (b *bench) run(ctx context.Context, only []string) error {
	var err error
	if b.binary, err = filepath.Abs(b.binary); err != nil {
		return err
	}
	for _, p := range parts {
		if len(only) > 0 && !slices.Contains(only, p.name) {
			continue
		}
		began := time.Now()
		if err := p.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if len(b.subjects) == 0 {
			b.results.Parts = append(b.results.Parts, p.name)
		}
		b.say("%s took %s", p.name, time.Since(began).Round(time.Second))
	}
	return nil
}

// include takes over the figures of other runs, in the order of the parts.
func (b *bench) include(paths []string) error {
	var of []*Results
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		r := &Results{}
		if err := json.Unmarshal(text, r); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		of = append(of, r)
	}
	b.results.merge(of)
	return nil
}

// complete tells whether all parts but balance, which has a document of its own, were run, at
// full size.
func (r *Results) complete() bool {
	return !r.Small && !slices.ContainsFunc(parts, func(p part) bool { return p.name != "balance" && !slices.Contains(r.Parts, p.name) })
}

// say tells how far the run is, and when.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// machine describes the measured machine, but not the host of a User-Mode Linux.
func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	model := "unknown CPU"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(name, "model name") {
				model = strings.TrimSpace(value)
			}
		}
	}
	return fmt.Sprintf("Linux %s, %d CPU, %s", release, runtime.NumCPU(), model)
}
