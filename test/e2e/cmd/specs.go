package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"maps"
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

// atOnce is how many specs are played at once. They mostly wait.
const atOnce = 6

// selection is specs.yaml.
type selection struct {
	Focus []string    `json:"focus"`
	Last  []string    `json:"last"`
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

// skipped is the regular expression for all that is left out, and more.
func (s selection) skipped(more ...string) string {
	var all []string
	for _, skip := range s.Skip {
		all = append(all, skip.Specs)
	}
	return strings.Join(append(all, more...), "|")
}

// specs runs specs on a cluster that is up, and writes their results to a file.
func specs(ctx context.Context, c *e2e.Cluster, args []string) error {
	flags := flag.NewFlagSet("specs", flag.ContinueOnError)
	together := flags.Int("together", atOnce, "how many at once")
	last := flags.Bool("last", false, "keep those that burden others for the end")
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
	if r.Specs, err = s.play(ctx, c, focus, *last, *together, strings.TrimSuffix(path, ".json")); err != nil {
		return err
	}
	r.Seconds = int(time.Since(began).Seconds())
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// play runs specs, and those that burden others after them, if that is asked for.
func (s selection) play(ctx context.Context, c *e2e.Cluster, focus string, last bool, together int, log string) (map[string]e2e.Result, error) {
	if !last {
		return c.Specs(ctx, focus, s.skipped(), together, log+".log")
	}
	results, err := c.Specs(ctx, focus, s.skipped(s.Last...), together, log+".log")
	if err != nil {
		return nil, err
	}
	more, err := c.Specs(ctx, strings.Join(s.Last, "|"), s.skipped(), together, log+".last.log")
	maps.Copy(results, more)
	return results, err
}
