package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"kube-ipvs/test/e2e"
)

//go:embed specs.yaml
var specsYAML []byte

// selection is specs.yaml.
type selection struct {
	Focus []string    `json:"focus"`
	Quick []string    `json:"quick"`
	Skip  []exception `json:"skip"`
	Known []exception `json:"known"`
}

// exception is of specs that are left out, or of specs that fail with some proxies.
type exception struct {
	Specs   string   `json:"specs"`
	Proxies []string `json:"proxies,omitempty"`
	Reason  string   `json:"reason"`
}

// why returns the reason for which a spec is known to fail with a proxy, or nothing.
func (s selection) why(name, proxy string) string {
	for _, k := range s.Known {
		if slices.Contains(k.Proxies, proxy) && regexp.MustCompile(k.Specs).MatchString(name) {
			return k.Reason
		}
	}
	return ""
}

func readSelection() (selection, error) {
	var s selection
	return s, yaml.UnmarshalStrict(specsYAML, &s)
}

// skipped is the regular expression for all that is left out.
func (s selection) skipped() string {
	var all []string
	for _, skip := range s.Skip {
		all = append(all, skip.Specs)
	}
	return strings.Join(all, "|")
}

// specs runs specs on a cluster that is up, and writes their results to a file.
func specs(ctx context.Context, c *e2e.Cluster, args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	focus, path := args[0], args[1]
	s, err := readSelection()
	if err != nil {
		return err
	}
	results, err := c.Specs(ctx, focus, s.skipped(), strings.TrimSuffix(path, ".json")+".log")
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// conform runs specs with one proxy after the other, each on a cluster of its own.
func conform(ctx context.Context, dir string, args []string) error {
	flags := flag.NewFlagSet("conform", flag.ContinueOnError)
	proxies := flags.String("proxies", "iptables image direct", "with a space between")
	focus := flags.String("focus", "", "regular expression for names of specs; all that concern a proxy if empty")
	nodes := flags.Int("nodes", 2, "how many nodes; each is a zone of its own")
	quick := flags.Bool("quick", false, "only those that tell most")
	out := flags.String("out", "out/e2e-results", "folder for PROXY.json and PROXY.log")
	document := flags.String("document", "", "Markdown file to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s, err := readSelection()
	if err != nil {
		return err
	}
	chosen := *focus
	switch {
	case *quick:
		chosen = strings.Join(s.Quick, "|")
	case chosen == "":
		chosen = strings.Join(s.Focus, "|")
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	p := play{Quick: *quick, Results: map[string]map[string]e2e.Result{}}
	var errs []error
	for _, proxy := range strings.Fields(*proxies) {
		path := filepath.Join(*out, proxy+".json")
		if err := one(ctx, dir, []string{"--proxy", proxy, "--nodes", strconv.Itoa(*nodes)}, chosen, path); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", proxy, err))
			continue
		}
		if err := p.read(proxy, path); err != nil {
			return err
		}
	}
	if *document != "" && len(errs) == 0 {
		errs = append(errs, p.write(*document, s))
	}
	return errors.Join(append(errs, p.failed(s))...)
}

// one brings a cluster up, has specs run on it, and takes it down.
func one(ctx context.Context, dir string, flags []string, focus, path string) (err error) {
	defer func() { err = errors.Join(err, down(context.WithoutCancel(ctx), dir)) }()
	if err := up(ctx, dir, flags); err != nil {
		return err
	}
	began := time.Now()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "--dir", dir, "specs", focus, path)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	err = cmd.Run()
	fmt.Fprintf(os.Stderr, "e2e: specs took %.0f s; what they said: %s\n", time.Since(began).Seconds(), strings.TrimSuffix(path, ".json")+".log")
	return err
}

// play is what became of specs with each proxy.
type play struct {
	Quick   bool
	Proxies []string
	Results map[string]map[string]e2e.Result // by proxy and spec
}

func (p *play) read(proxy, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var results map[string]e2e.Result
	if err := json.Unmarshal(text, &results); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	p.Proxies = append(p.Proxies, proxy)
	p.Results[proxy] = results
	return nil
}

// specs returns the names of all, sorted.
func (p *play) specs() []string {
	var names []string
	for _, results := range p.Results {
		for name := range results {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// failed names the specs that have failed with a proxy and are not known to.
func (p *play) failed(s selection) error {
	var errs []error
	for _, name := range p.specs() {
		for _, proxy := range p.Proxies {
			if r, ok := p.Results[proxy][name]; ok && r.Result == "failed" && s.why(name, proxy) == "" {
				errs = append(errs, fmt.Errorf("%s: %s: %s", proxy, name, r.Message))
			}
		}
	}
	return errors.Join(errs...)
}
