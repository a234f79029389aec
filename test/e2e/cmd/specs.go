package main

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
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

// specs runs specs on a cluster that is up, and writes their results to a file, or adds
// them to it. An interrupted run leaves there what has passed.
func specs(ctx context.Context, c *e2e.Cluster, args []string) error {
	flags := flag.NewFlagSet("specs", flag.ContinueOnError)
	together := flags.Int("together", atOnce, "how many at once")
	last := flags.Bool("last", false, "keep the longest for the end, and note the results as a run of all")
	rest := flags.Bool("rest", false, "only those that have not passed by what the file says, and add to that")
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
	r, err := readResults(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !*rest {
		r = results{Runs: r.Runs}
	}
	began, log := time.Now(), strings.TrimSuffix(path, ".json")
	played, err := s.play(ctx, c, focus, s.skipped(r.settled()...), *last, *together, log)
	if slices.ContainsFunc(slices.Collect(maps.Values(played)), func(r e2e.Result) bool { return r.Result == "flake" || r.Result == "failed" }) {
		// The next run writes to the same file, and a flake may not come again for weeks.
		err = errors.Join(err, os.Rename(log+".log", log+began.UTC().Format(".0102-1504.log")))
	}
	if r.add(played); len(r.Specs) == 0 {
		return cmp.Or(err, fmt.Errorf("no spec has a name like %s", focus))
	}
	r.Date, r.Nodes, r.Seconds = began.UTC().Format(time.DateOnly), c.Nodes, r.Seconds+int(time.Since(began).Seconds())
	if *last && err == nil {
		r.played(*rest)
	}
	return errors.Join(err, r.write(path))
}

// play runs specs, and the longest after them, if that is asked for.
func (s selection) play(ctx context.Context, c *e2e.Cluster, focus, skip string, last bool, together int, log string) (map[string]e2e.Result, error) {
	if !last {
		return c.Specs(ctx, focus, skip, together, log+".log")
	}
	longest := strings.Join(s.Last, "|")
	results, err := c.Specs(ctx, focus, skip+"|"+longest, together, log+".log")
	if err != nil {
		return results, err
	}
	more, err := c.Specs(ctx, longest, skip, together, log+".last.log")
	maps.Copy(results, more)
	return results, err
}
