package main

import "testing"

// Figures of several runs become one report, which is whole when all parts are.
func TestMerge(t *testing.T) {
	r := &Results{}
	lab := &Results{Machine: "lab", Parts: []string{"control", "requests", "data", "reconciler"}, Figures: []*Figure{{Topic: "a"}}}
	other := &Results{Machine: "other", Parts: []string{"addresses", "conntrack"}, Figures: []*Figure{{Topic: "b", Note: "n"}}}
	r.merge([]*Results{lab, other})
	if r.Machine != "lab" || r.Small || len(r.Figures) != 2 || r.Figures[0].Note != "" || r.Figures[1].Note != "n; measured on other" {
		t.Errorf("%+v: %+v, %+v", r, r.Figures[0], r.Figures[1])
	}
	if r.complete() {
		t.Error("userspace is missing, and the report is taken for a whole one")
	}
	r.merge([]*Results{{Machine: "lab", Parts: []string{"userspace"}}})
	if !r.complete() {
		t.Errorf("%q is not all", r.Parts)
	}
	r.merge([]*Results{{Machine: "lab", Small: true}})
	if r.complete() {
		t.Error("a small run is taken for a whole one")
	}
}
