package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// show shows a folder of manifests, and returns what is printed and the status page.
func show(t *testing.T, folder string) (text, page string, err error) {
	t.Helper()
	o := options{examples: folder, colour: "never", statusPage: filepath.Join(t.TempDir(), "status.html")}
	var out strings.Builder
	err = runDry(t.Context(), o, &out)
	html, _ := os.ReadFile(o.statusPage)
	return out.String(), string(html), err
}

// changed returns a copy of the examples in which a file has other text.
func changed(t *testing.T, file string, replace ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := copyManifests("../../examples", dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, file)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	after := strings.NewReplacer(replace...).Replace(string(before))
	if after == string(before) {
		t.Fatalf("%s has none of %q", file, replace)
	}
	if err := os.WriteFile(path, []byte(after), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func expect(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s has no %q:\n%s", what, part, text)
		}
	}
}

func TestDryShowsTheExamples(t *testing.T) {
	text, page, err := show(t, "../../examples")
	if err != nil {
		t.Error(err)
	}
	expect(t, "the text", text, "add virtual server 242.96.0.80:80/tcp rr", "ok  the examples have no mistakes",
		"ok  a second start would write nothing", "10.244.0.11:8080  weight 1  chosen")
	if _, explained, _ := strings.Cut(text, "$ kube-ipvs explain"); strings.Contains(explained, "…") {
		t.Errorf("a sentence of explain is cut:\n%s", explained)
	}
	expect(t, "the page", page, "Healthy", "default/web", "10.244.0.11:8080", "default/archive")
}

// What it prints comes from the manifests: with others it prints something else.
func TestDryFollowsTheManifests(t *testing.T) {
	text, page, err := show(t, changed(t, "web-endpoints.yaml", "10.244.0.12", "10.244.0.19"))
	if err != nil {
		t.Error(err)
	}
	expect(t, "the text", text, "add real server 10.244.0.19:8080 of 242.96.0.80:80/tcp weight 1", "10.244.0.19:8080  weight 1  chosen")
	expect(t, "the page", page, "10.244.0.19:8080")
	if strings.Contains(text, "10.244.0.12:8080 of 242.96.0.80") {
		t.Errorf("an endpoint that is not there any more:\n%s", text)
	}
}

func TestDryFailsByMistakes(t *testing.T) {
	text, _, err := show(t, changed(t, "web.yaml", "10.96.0.80", "10.96.0.256"))
	if !errors.Is(err, errFalse) {
		t.Errorf("%v", err)
	}
	expect(t, "the text", text, "FALSE without IPVS", "claimed:  the examples have no mistakes", "10.96.0.256")
}
