package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"

	"kube-ipvs/test/e2e"
)

// results are the file of a run of specs with one proxy.
type results struct {
	Date    string                `json:"date"`
	Nodes   int                   `json:"nodes"`
	Seconds int                   `json:"seconds"` // of all together
	Specs   map[string]e2e.Result `json:"specs"`   // of the last run; without a result: not played
	Runs    []runResult           `json:"runs"`    // of all specs, the last one at the end
}

// runResult is what one run of all specs came to.
type runResult struct {
	Date    string   `json:"date"`
	Seconds int      `json:"seconds"`
	Passed  int      `json:"passed"`
	Failed  []string `json:"failed,omitempty"`
	Flakes  []string `json:"flakes,omitempty"`
}

// keptRuns is how many runs a file keeps.
const keptRuns = 10

// played notes the results as a run, in the place of the last one if they add to that.
func (r *results) played(adds bool) {
	now := runResult{Date: r.Date, Seconds: r.Seconds}
	for name, spec := range r.Specs {
		switch spec.Result {
		case "passed":
			now.Passed++
		case "failed":
			now.Failed = append(now.Failed, name)
		case "flake":
			now.Flakes = append(now.Flakes, name)
		}
	}
	slices.Sort(now.Failed)
	slices.Sort(now.Flakes)
	if adds && len(r.Runs) > 0 {
		r.Runs = r.Runs[:len(r.Runs)-1]
	}
	r.Runs = append(r.Runs, now)
	r.Runs = r.Runs[max(0, len(r.Runs)-keptRuns):]
}

func readResults(path string) (results, error) {
	var r results
	text, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func (r results) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// settled are regular expressions for the names of those that need not be played again.
func (r results) settled() []string {
	var names []string
	for name, spec := range r.Specs {
		if spec.Result != "failed" && spec.Result != "" {
			names = append(names, regexp.QuoteMeta(name)+"$")
		}
	}
	slices.Sort(names)
	return names
}

// add replaces results by newer ones. A spec that failed and now passes is a flake.
func (r *results) add(newer map[string]e2e.Result) {
	if r.Specs == nil {
		r.Specs = map[string]e2e.Result{}
	}
	for name, spec := range newer {
		if old := r.Specs[name]; old.Result == "failed" && spec.Result == "passed" {
			spec.Result, spec.Message = "flake", old.Message
		}
		r.Specs[name] = spec
	}
}
