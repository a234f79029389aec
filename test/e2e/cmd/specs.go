package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"slices"
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
	flags := flag.NewFlagSet("specs", flag.ContinueOnError)
	together := flags.Int("together", 8, "how many at once")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 2 {
		return errUsage
	}
	focus, path := flags.Arg(0), flags.Arg(1)
	s, err := readSelection()
	if err != nil {
		return err
	}
	began := time.Now()
	r := results{Date: began.UTC().Format(time.DateOnly), Nodes: c.Nodes}
	if r.Specs, err = c.Specs(ctx, focus, s.skipped(), *together, strings.TrimSuffix(path, ".json")+".log"); err != nil {
		return err
	}
	r.Seconds = int(time.Since(began).Seconds())
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
