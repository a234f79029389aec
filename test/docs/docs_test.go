package docs

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// Every relative link leads to a file that is there, and to a heading in it.
func TestLinks(t *testing.T) {
	byPath := map[string]page{}
	for _, p := range pages(t) {
		byPath[p.path] = p
	}
	n := 0
	for _, p := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(p.prose(), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			n++
			file, at, _ := strings.Cut(m[1], "#")
			if file == "" {
				file = path.Base(p.path)
			}
			target := path.Join(path.Dir(p.path), file)
			if _, err := os.Stat(filepath.Join(Root(t), target)); err != nil {
				if !generated[target] {
					t.Errorf("%s: %s leads nowhere", p.path, m[1])
				}
				continue
			}
			if to, ok := byPath[target]; at != "" && (!ok || !to.anchors()[at]) {
				t.Errorf("%s: %s: %s has no such heading", p.path, m[1], target)
			}
		}
	}
	if n == 0 {
		t.Error("no link was found")
	}
}

var metric = regexp.MustCompile(`\b(?:kube_ipvs|kubeproxy)_[a-z0-9_]+`)

// Every metric that is named stands in docs/metrics.md, which another test
// holds to the registry.
func TestMetrics(t *testing.T) {
	known := map[string]bool{}
	all := pages(t)
	for _, p := range all {
		if p.path == "docs/metrics.md" {
			for _, name := range metric.FindAllString(p.text, -1) {
				known[name] = true
			}
		}
	}
	n := 0
	for _, p := range all {
		for _, name := range metric.FindAllString(p.text, -1) {
			n++
			base := name
			for _, part := range []string{"_bucket", "_sum", "_count"} { // of histograms
				base = strings.TrimSuffix(base, part)
			}
			// Those of endpoints are called as those of Services.
			of := strings.Replace(base, "kube_ipvs_endpoint_", "kube_ipvs_service_", 1)
			if !known[name] && !known[base] && !known[of] {
				t.Errorf("%s: docs/metrics.md has no %s", p.path, name)
			}
		}
	}
	if n == len(known) {
		t.Error("no metric was found outside of docs/metrics.md")
	}
}

// The objects that kube-ipvs writes are named where operators look for them.
func TestObjects(t *testing.T) {
	var operations page
	for _, p := range pages(t) {
		if p.path == "docs/operations.md" {
			operations = p
		}
	}
	named := map[string]bool{}
	for _, c := range operations.code() {
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
