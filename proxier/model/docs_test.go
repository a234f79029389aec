package model

import (
	"regexp"
	"slices"
	"testing"

	"kube-ipvs/test/lib/docs"
)

var documentedAnnotation = regexp.MustCompile("(?m)^\\| annotation `(kube-ipvs/[a-z-]+)`")

// docs/configuration.md has a row for each annotation, and for no other.
func TestAnnotationsAreDocumented(t *testing.T) {
	want := slices.Sorted(slices.Values(slices.Concat(known, knownOfSlices)))
	for _, p := range docs.Pages(t) {
		if p.Path != "docs/configuration.md" {
			continue
		}
		var got []string
		for _, m := range documentedAnnotation.FindAllStringSubmatch(p.Text, -1) {
			got = append(got, m[1])
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("it has %q, want %q", got, want)
		}
	}
}
