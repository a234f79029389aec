package main

import "testing"

// Figures of several runs become one report, which is whole when all parts are.
func TestMerge(t *testing.T) {
	b := &bench{results: &Results{}}
	lab := &Results{Machine: "lab", Parts: []string{"control", "requests", "data", "reconciler"}, Figures: []*Figure{{Topic: "a"}}}
	other := &Results{Machine: "other", Parts: []string{"addresses", "conntrack"}, Figures: []*Figure{{Topic: "b", Note: "n"}}}
	b.results.merge([]*Results{lab, other})
	if r := b.results; r.Machine != "lab" || r.Small || len(r.Figures) != 2 || r.Figures[0].Note != "" || r.Figures[1].Note != "n; measured on other" {
		t.Errorf("%+v: %+v, %+v", r, r.Figures[0], r.Figures[1])
	}
	if b.complete() {
		t.Error("userspace is missing, and the report is taken for a whole one")
	}
	b.results.merge([]*Results{{Machine: "lab", Parts: []string{"userspace"}}})
	if !b.complete() {
		t.Errorf("%q is not all", b.results.Parts)
	}
	b.results.merge([]*Results{{Machine: "lab", Small: true}})
	if b.complete() {
		t.Error("a small run is taken for a whole one")
	}
}
