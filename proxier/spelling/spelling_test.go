package spelling

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNearest(t *testing.T) {
	names := []string{"state", "plan", "explain", "manifests", "metrics-port", "image-prefix", "image-prefix6", "image-prefix-local", "image-prefix-nodeport", "top", "top"}
	for _, tt := range []struct {
		word string
		want []string
	}{
		{"stat", []string{"state"}},
		{"sttae", []string{"state"}}, // two swapped
		{"PLAN", []string{"plan"}},
		{"exp", []string{"explain"}},       // its beginning
		{"ex", nil},                        // too short a beginning
		{"mnifsts", []string{"manifests"}}, // two of seven
		{"tpo", []string{"top"}},           // once
		{"start", nil},
		{"IMAGE-prefix", []string{"image-prefix"}},
		{"image-prefx", []string{"image-prefix", "image-prefix6"}},
		{"image-", []string{"image-prefix", "image-prefix6", "image-prefix-local"}}, // and one more
		{"", nil},
		{"überall", nil},
	} {
		if diff := cmp.Diff(tt.want, Nearest(tt.word, slices.Values(names))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.word, diff)
		}
	}
}

func TestMeant(t *testing.T) {
	names := slices.Values([]string{"image-prefix", "image-prefix6"})
	for word, want := range map[string]string{"image-prefx": " (is --image-prefix or --image-prefix6 meant?)", "zone": ""} {
		if got := Meant(word, "--", names); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
