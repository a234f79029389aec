package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestProvenance(t *testing.T) {
	folder := t.TempDir()
	const spdx = `{"packages":[{"externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:deb/debian/libc6@2"}]},{}]}`
	for name, text := range map[string]string{"b": "2", "a.spdx.json": spdx} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if err := sample.writeProvenance(&out, folder); err != nil {
		t.Fatal(err)
	}
	var s statement
	if err := json.Unmarshal([]byte(out.String()), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Subject) != 2 || s.Subject[0].Name != "a.spdx.json" || s.Subject[1].Digest["sha256"] != digestOf([]byte("2")) {
		t.Errorf("it is of %+v", s.Subject)
	}
	var of []string
	for _, d := range s.Predicate.Build.Dependencies {
		of = append(of, d.URI+d.Digest["gitCommit"])
	}
	if want := []string{"git+https://example.com/kube-ipvsc0ffee", "pkg:deb/debian/libc6@2", "pkg:golang/toolchain@1.26.8"}; !slices.Equal(of, want) {
		t.Errorf("it was made of %v", of)
	}
	if s.Predicate.Run.Builder.ID != sample.builder || s.Predicate.Build.External["version"] != string(sample.version) {
		t.Errorf("%+v", s.Predicate)
	}
	if err := (release{version: "v1.0.0"}).writeProvenance(&out, folder); err == nil {
		t.Error("a statement without a commit is written")
	}
}
