package e2e

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// Result is the outcome of one of upstream's specs.
type Result struct {
	Result  string `json:"result"` // passed, failed, flake or skipped
	Seconds int    `json:"seconds"`
	Message string `json:"message,omitempty"` // why it failed, or skipped itself
}

// Specs runs upstream's specs whose name the first regular expression matches and the
// second does not, some of them side by side, and returns their results by name. It
// plays failed ones once more, one after the other: a spec that passes then is a
// flake. The error says why there are none, or not all: if ctx ends, those that have
// passed are returned beside it. Their output goes to a file, that of the second time to
// another beside it.
func (c *Cluster) Specs(ctx context.Context, focus, skip string, together int, log string) (map[string]Result, error) {
	results, err := c.playSpecs(ctx, focus, skip, together, log)
	if err != nil { // an interrupted spec has failed, too
		maps.DeleteFunc(results, func(_ string, r Result) bool { return r.Result == "failed" })
		return results, err
	}
	failed := exactly(results)
	if failed == "" {
		return results, nil
	}
	again, err := c.playSpecs(ctx, failed, skip, 1, strings.TrimSuffix(log, ".log")+".again.log")
	if err == nil {
		merge(results, again)
	}
	return results, err
}

// exactly returns a regular expression for the names of the specs that have failed, or
// nothing.
func exactly(results map[string]Result) string {
	var names []string
	for name, r := range results {
		if r.Result == "failed" {
			names = append(names, regexp.QuoteMeta(name)+"$")
		}
	}
	slices.Sort(names)
	return strings.Join(names, "|")
}

// merge replaces the results of specs that failed the first time by the second ones.
func merge(results, again map[string]Result) {
	for name, r := range results {
		second, ok := again[name]
		switch {
		case !ok || r.Result != "failed":
		case second.Result == "passed":
			r.Result = "flake"
			results[name] = r
		default:
			results[name] = second
		}
	}
}

// playSpecs runs specs as many at once as it is told.
func (c *Cluster) playSpecs(ctx context.Context, focus, skip string, together int, log string) (map[string]Result, error) {
	report, err := os.MkdirTemp(c.Dir, "report-")
	if err != nil {
		return nil, err
	}
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, Program("ginkgo"), fmt.Sprintf("--procs=%d", together), "--focus", focus, "--skip", skip,
		"--timeout=12h", "-v", "--no-color", Program("e2e.test"), "--",
		"--kubeconfig", c.Kubeconfig(), "--kubectl-path", Program("kubectl"), "--provider=skeleton", fmt.Sprintf("--num-nodes=%d", c.Nodes),
		"--allowed-not-ready-nodes=0", "--minStartupPods=0", "--node-schedulable-timeout=3m", "--system-daemonsets-startup-timeout=1m",
		"--disable-log-dump", "--node-os-distro=debian", "--report-dir", report)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	ended := cmd.Run()
	results, err := readReport(report)
	if err != nil || len(results) == 0 && ended != nil {
		return nil, errors.Join(fmt.Errorf("no spec has been run: %w; it said:\n%s", errors.Join(ended, err), testbed.Tail(log, 20)))
	}
	return results, context.Cause(ctx)
}

// readReport reads the JUnit files of a folder. Specs that were not asked for are in them,
// too, as skipped without a reason.
func readReport(dir string) (map[string]Result, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.xml"))
	if err != nil {
		return nil, err
	}
	results := map[string]Result{}
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		err = readJUnit(file, results)
		err = errors.Join(err, file.Close())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return results, nil
}

func readJUnit(in io.Reader, results map[string]Result) error {
	type reason struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	var report struct {
		Cases []struct {
			Name    string  `xml:"name,attr"`
			Time    float64 `xml:"time,attr"`
			Failure *reason `xml:"failure"`
			Error   *reason `xml:"error"`
			Skipped *reason `xml:"skipped"`
		} `xml:"testsuite>testcase"`
	}
	if err := xml.NewDecoder(in).Decode(&report); err != nil {
		return err
	}
	const itself = "skipped - " // how a spec's own reason begins
	for _, spec := range report.Cases {
		name, ok := strings.CutPrefix(spec.Name, "[It] ")
		r := Result{Result: "passed", Seconds: int(math.Round(spec.Time))}
		why := spec.Failure
		if why == nil {
			why = spec.Error
		}
		switch {
		case !ok:
			continue
		case why != nil:
			r.Result, r.Message = "failed", first(why.Message+"\n"+why.Text, 600)
		case spec.Skipped != nil && !strings.HasPrefix(spec.Skipped.Message, itself):
			continue
		case spec.Skipped != nil:
			r.Result, r.Message = "skipped", strings.TrimPrefix(spec.Skipped.Message, itself)
		}
		results[name] = r
	}
	return nil
}

func first(text string, length int) string {
	text = strings.TrimSpace(text)
	return text[:min(len(text), length)]
}
