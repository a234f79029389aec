package main

import (
	"regexp"
	"slices"
	"testing"

	"kube-ipvs/test/e2e"
)

// Every name in specs.yaml can be asked for, and each omission has a reason.
func TestSelection(t *testing.T) {
	s, err := readSelection()
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Focus) == 0 || len(s.Quick) == 0 {
		t.Error("nothing is to be run")
	}
	names := slices.Concat(s.Focus, s.Last, s.Quick)
	for _, e := range append(s.Skip, s.Known...) {
		names = append(names, e.Specs)
		if e.Reason == "" {
			t.Errorf("%s is left out, or fails, without a reason", e.Specs)
		}
	}
	for _, k := range s.Known {
		for _, proxy := range k.Proxies {
			if !slices.Contains(e2e.Proxies, proxy) {
				t.Errorf("%s: there is no proxy %s", k.Specs, proxy)
			}
		}
	}
	for _, name := range names {
		if _, err := regexp.Compile(name); err != nil {
			t.Error(err)
		}
	}
}
