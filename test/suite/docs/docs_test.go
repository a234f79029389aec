// Package docs tests that the links, commands, messages and metrics that the documentation
// names exist.
package docs

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kube-ipvs/test/lib/docs"
)

// generated are pages that a command writes and that need not be there.
var generated = map[string]bool{"docs/comparison.md": true, "docs/performance.md": true}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// Every relative link leads to a file that is there, and to a heading in it.
func TestLinks(t *testing.T) {
	byPath := map[string]docs.Page{}
	for _, p := range docs.Pages(t) {
		byPath[p.Path] = p
	}
	n := 0
	for _, p := range docs.Pages(t) {
		for _, m := range link.FindAllStringSubmatch(p.Prose(), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			n++
			file, at, _ := strings.Cut(m[1], "#")
			if file == "" {
				file = path.Base(p.Path)
			}
			target := path.Join(path.Dir(p.Path), file)
			if _, err := os.Stat(filepath.Join(docs.Root(t), target)); err != nil {
				if !generated[target] {
					t.Errorf("%s: %s leads nowhere", p.Path, m[1])
				}
				continue
			}
			if to, ok := byPath[target]; at != "" && (!ok || !to.Anchors()[at]) {
				t.Errorf("%s: %s: %s has no such heading", p.Path, m[1], target)
			}
		}
	}
	if n == 0 {
		t.Error("no link was found")
	}
}

// test/README.md leads to each folder beside it.
func TestFolders(t *testing.T) {
	dir := filepath.Join(docs.Root(t), "test")
	text, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.IsDir() && !strings.Contains(string(text), "]("+f.Name()+")") {
			t.Errorf("test/README.md does not lead to %s", f.Name())
		}
	}
}

var metric = regexp.MustCompile(`\b(?:kube_ipvs|kubeproxy)_[a-z0-9_]+`)

// Every metric that is named stands in docs/metrics.md, which another test
// holds to the registry.
func TestMetrics(t *testing.T) {
	known := map[string]bool{}
	all := docs.Pages(t)
	for _, p := range all {
		if p.Path == "docs/metrics.md" {
			for _, name := range metric.FindAllString(p.Text, -1) {
				known[name] = true
			}
		}
	}
	n := 0
	for _, p := range all {
		for _, name := range metric.FindAllString(p.Text, -1) {
			n++
			base := name
			for _, part := range []string{"_bucket", "_sum", "_count"} { // of histograms
				base = strings.TrimSuffix(base, part)
			}
			// Those of endpoints are called as those of Services.
			of := strings.Replace(base, "kube_ipvs_endpoint_", "kube_ipvs_service_", 1)
			if !known[name] && !known[base] && !known[of] {
				t.Errorf("%s: docs/metrics.md has no %s", p.Path, name)
			}
		}
	}
	if n == len(known) {
		t.Error("no metric was found outside of docs/metrics.md")
	}
}

// The objects that kube-ipvs writes are named where operators look for them.
func TestObjects(t *testing.T) {
	var operations docs.Page
	for _, p := range docs.Pages(t) {
		if p.Path == "docs/operations.md" {
			operations = p
		}
	}
	named := map[string]bool{}
	for _, c := range operations.Code() {
		for word := range strings.FieldsSeq(c) {
			named[word] = true
		}
	}
	for what, names := range objects() {
		for _, name := range names {
			if !named[name] {
				t.Errorf("docs/operations.md does not name the %s %s", what, name)
			}
		}
	}
}
