package main

import (
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"kube-ipvs/test/e2e"
)

// The specs of an earlier run that failed or were not played are played, and its other
// results stay.
func TestRest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image.json")
	old := results{Nodes: 3, Seconds: 60, Specs: map[string]e2e.Result{
		"good (tcp)": {Result: "passed"},
		"good":       {Result: "failed", Message: "no answer"},
		"bad":        {Result: "failed", Message: "no answer"},
		"unable":     {Result: "skipped", Message: "needs a cloud"},
		"new":        {},
	}}
	if err := old.write(path); err != nil {
		t.Fatal(err)
	}
	r, err := readResults(path)
	if err != nil {
		t.Fatal(err)
	}
	skip := regexp.MustCompile(strings.Join(r.settled(), "|"))
	for name, want := range map[string]bool{"good (tcp)": true, "good": false, "bad": false, "unable": true, "new": false} {
		if skip.MatchString(name) != want {
			t.Errorf("%s is left out: %t, want %t", name, !want, want)
		}
	}
	r.add(map[string]e2e.Result{"good": {Result: "passed"}, "bad": {Result: "failed", Message: "wrong answer"}, "new": {Result: "passed"}})
	want := map[string]e2e.Result{
		"good (tcp)": {Result: "passed"},
		"good":       {Result: "flake", Message: "no answer"},
		"bad":        {Result: "failed", Message: "wrong answer"},
		"unable":     {Result: "skipped", Message: "needs a cloud"},
		"new":        {Result: "passed"},
	}
	if !maps.Equal(r.Specs, want) {
		t.Errorf("%v, want %v", r.Specs, want)
	}
}

// A run that adds to the last one takes its place, another one stands behind it, and the
// oldest ones are left out.
func TestRuns(t *testing.T) {
	r := results{Date: "2026-11-01", Specs: map[string]e2e.Result{"a": {Result: "passed"}, "b": {Result: "failed"}, "c": {}}}
	r.played(false)
	r.add(map[string]e2e.Result{"b": {Result: "passed"}, "c": {Result: "passed"}})
	r.played(true)
	if want := (runResult{Date: "2026-11-01", Passed: 2, Flakes: []string{"b"}}); !reflect.DeepEqual(r.Runs, []runResult{want}) {
		t.Errorf("%+v, want %+v alone", r.Runs, want)
	}
	for range keptRuns {
		r.Date = "2026-11-02"
		r.played(false)
	}
	if len(r.Runs) != keptRuns || r.Runs[0].Date != "2026-11-02" {
		t.Errorf("%d runs from %s on, want the last %d", len(r.Runs), r.Runs[0].Date, keptRuns)
	}
}
