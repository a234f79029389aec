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
	Specs   map[string]e2e.Result `json:"specs"`   // without a result: not played
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
