// Command compare puts kube-proxy in each of its modes and kube-ipvs into the
// same situations, one after another, on a real kernel and with a real control
// plane, sends the same packets, and reports the outcomes. It runs in the lab: see
// the compare target of the Makefile. It exits with 0 only if kube-ipvs did what
// kube-proxy's iptables mode did, or something else that is known.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"kube-ipvs/test/lib/cluster"
)

// errAgain says that there are differences that are to be looked at again: a
// busy machine makes some that do not last.
var errAgain = errors.New("they are to be played again")

const exitAgain = 3

type options struct {
	binary, peers, only, known, out, docs, seen, again string
	proxies, merge                                     []string
	list                                               bool
}

func main() {
	var o options
	pflag.StringVar(&o.binary, "binary", "bin/kube-ipvs", "the kube-ipvs to compare")
	pflag.StringVar(&o.peers, "peers", os.Getenv("KUBE_IPVS_PEERS"), "folder of etcd, kube-apiserver and kube-proxy, see test/peers/build")
	pflag.StringVar(&o.only, "case", "", "regular expression: play only scenarios whose \"chapter / name\" it matches")
	pflag.StringSliceVar(&o.proxies, "proxies", nil, "play only these")
	pflag.StringVar(&o.seen, "seen", "", "only play, and write what was seen to this file: several labs play side by side")
	pflag.StringSliceVar(&o.merge, "merge", nil, "do not play: report what such files hold")
	pflag.StringVar(&o.known, "known", "test/compare/known.yaml", "the known differences")
	pflag.StringVar(&o.out, "out", "out", "folder to write comparison.json and comparison.md to")
	pflag.StringVar(&o.docs, "docs", "", "file to write the report to, too, if everything was played")
	pflag.StringVar(&o.again, "again", "", "write to this file the --case that plays again what differs and is not known to, and exit with 3")
	pflag.BoolVar(&o.list, "list", false, "print the names of the scenarios and end")
	pflag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := compare(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
	}
	switch {
	case errors.Is(err, errAgain):
		os.Exit(exitAgain)
	case err != nil:
		os.Exit(1)
	}
}

func compare(ctx context.Context, o options) error {
	chosen, err := choose(o)
	if err != nil || o.list {
		return err
	}
	results := &Results{}
	if len(o.merge) > 0 {
		err = results.read(o.merge)
	} else {
		results, err = o.play(ctx, chosen)
	}
	if err != nil || o.seen != "" {
		return errors.Join(err, results.writeTo(o.seen))
	}
	results.complete()
	results.order(chosen)
	return o.report(ctx, results)
}

// play has the chosen proxies play the chosen scenarios.
func (o options) play(ctx context.Context, chosen []Scenario) (*Results, error) {
	dir, err := os.MkdirTemp("", "compare-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := linkLegacy(filepath.Join(dir, "legacy")); err != nil {
		return nil, err
	}
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return nil, err
	}
	players := slices.DeleteFunc(proxies(binary, dir), func(p *Proxy) bool {
		return len(o.proxies) > 0 && !slices.Contains(o.proxies, p.Name)
	})
	results := newResults(players)
	return results, playAll(ctx, o.peers, players, chosen, results)
}

func choose(o options) ([]Scenario, error) {
	scenarios := all()
	if err := check(scenarios); err != nil {
		return nil, err
	}
	only, err := regexp.Compile(o.only)
	if err != nil {
		return nil, fmt.Errorf("--case: %w", err)
	}
	scenarios = slices.DeleteFunc(scenarios, func(s Scenario) bool { return !only.MatchString(s.Chapter + " / " + s.Name) })
	if len(scenarios) == 0 {
		return nil, fmt.Errorf("--case %q matches no scenario; see --list", o.only)
	}
	if o.list {
		for _, s := range scenarios {
			fmt.Println(s.Chapter + " / " + s.Name + inVariant(s.Variant))
		}
	}
	return scenarios, nil
}

func playAll(ctx context.Context, peers string, players []*Proxy, chosen []Scenario, results *Results) (err error) {
	w, err := newWorld(ctx, peers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	for _, p := range players {
		if err := (&run{world: w, proxy: p, results: results, out: os.Stderr}).all(ctx, chosen); err != nil {
			return err
		}
	}
	return nil
}

// report prints and writes the results. Its error names the unexpected ones.
func (o options) report(ctx context.Context, r *Results) error {
	known, err := readKnown(o.known)
	if err != nil {
		return err
	}
	var ours []string
	complete := o.only == ""
	for _, p := range proxies("", "") {
		if p.Ours() {
			ours = append(ours, p.Name)
		}
		complete = complete && slices.Contains(r.Proxies, p.Name)
	}
	faults, unused := apply(known, r, ours)
	if complete {
		for _, k := range unused {
			fmt.Fprintf(os.Stderr, "compare: no difference was seen that the known one of %v is about: %s: %s\n", k.Proxies, k.Cases, k.Reason)
		}
	}
	version, err := cluster.KubeProxyVersion(ctx, o.peers)
	if err != nil {
		return err
	}
	r.Table(os.Stdout)
	fmt.Printf("\n%s\n", r.summary(ours))
	err = errors.Join(os.MkdirAll(o.out, 0o755), r.writeTo(filepath.Join(o.out, "comparison.json")), r.Markdown(filepath.Join(o.out, "comparison.md"), version, known, ours))
	if complete && o.docs != "" {
		err = errors.Join(err, r.Markdown(o.docs, version, known, ours))
	}
	if err != nil || len(faults) == 0 {
		return err
	}
	var lines, names []string
	for _, f := range faults {
		lines = append(lines, f.String())
		if name := regexp.QuoteMeta(f.row.Chapter + " / " + f.row.Scenario); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	err = fmt.Errorf("%d differences that are not known:\n%s", len(faults), strings.Join(lines, "\n"))
	if o.again == "" {
		return err
	}
	return errors.Join(err, errAgain, os.WriteFile(o.again, []byte("^("+strings.Join(names, "|")+")$"), 0o644))
}
