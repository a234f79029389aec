package chart

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// less are the paths of values of which this version takes less than the one before, with
// the reason for which users have to change theirs. CHANGELOG.md has each of them, too.
var less = map[string]string{}

// git returns what git prints of this repository.
func git(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", args...).Output()
	if err != nil {
		t.Fatalf("git %v: %v", args, err)
	}
	return string(out)
}

// previous returns the commit of the version before this one.
func previous(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "../../e2e/previous", "--revision").Output()
	if err != nil {
		t.Fatal(err)
	}
	revision := strings.TrimSpace(string(out))
	if revision == "" {
		t.Skip("the history that has the version before is not here")
	}
	return revision
}

// What the schema of the version before takes, this one takes, but for what is named.
func TestSchemaTakesValuesOfThePreviousVersion(t *testing.T) {
	text, err := os.ReadFile(chart + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	found := narrowed(parse(t, git(t, "show", previous(t)+":charts/kube-ipvs/values.schema.json")), parse(t, string(text)))
	for at, how := range found {
		if less[at] == "" {
			t.Errorf("values of the version before are refused at %s: %s", at, how)
		}
	}
	for at := range less {
		if found[at] == "" {
			t.Errorf("%s takes as much as in the version before", at)
		}
	}
}

// The values of the tests of the version before can still be installed.
func TestChartTakesValuesOfThePreviousVersion(t *testing.T) {
	revision := previous(t)
	n := 0
	for _, file := range strings.Fields(git(t, "ls-tree", "-r", "--name-only", "--full-tree", revision)) {
		if !strings.HasSuffix(path.Dir(file), "chart/testdata/values") {
			continue
		}
		n++
		values := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(values, []byte(git(t, "show", revision+":"+file)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := template(t, append([]string{"--values", values}, monitoring...)...); err != nil && len(less) == 0 {
			t.Errorf("%s of the version before: %v", path.Base(file), err)
		}
	}
	if n == 0 {
		t.Errorf("%s has no values", revision)
	}
}

// missing returns the values that old lacks, each as null: to helm it is then not there.
func missing(old, now map[string]any) map[string]any {
	out := map[string]any{}
	for key, is := range now {
		was, had := old[key]
		before, _ := was.(map[string]any)
		if after, ok := is.(map[string]any); had && ok {
			if some := missing(before, after); len(some) > 0 {
				out[key] = some
			}
		} else if !had {
			out[key] = nil
		}
	}
	return out
}

// helm upgrade --reuse-values, by which docs/install.md upgrades, has no defaults for values that
// the version before did not know. Alerts are then the same as with the defaults.
func TestChartTakesReusedValues(t *testing.T) {
	var old, now map[string]any
	is, err := os.ReadFile(chart + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	was := git(t, "show", previous(t)+":charts/kube-ipvs/values.yaml")
	if err := yaml.Unmarshal([]byte(was), &old); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(is, &now); err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(missing(old, now))
	if err != nil {
		t.Fatal(err)
	}
	reused := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(reused, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, set := range sets(t) {
		args := append([]string{"--values", set, "--set", "prometheusRule.enabled=true"}, monitoring...)
		with, err := template(t, append([]string{"--values", reused}, args...)...)
		if err != nil {
			t.Errorf("%s with the values of the version before: %v", name, err)
			continue
		}
		without, err := template(t, args...)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := document(t, with, "PrometheusRule"), document(t, without, "PrometheusRule"); got != want {
			t.Errorf("%s: with the values of the version before the alerts are\n%s\nwant\n%s", name, got, want)
		}
	}
}

// document returns the text of the object of a kind that template has rendered.
func document(t *testing.T, rendered, kind string) string {
	t.Helper()
	for _, doc := range strings.Split(rendered, "\n---\n") {
		if strings.Contains(doc, "\nkind: "+kind+"\n") {
			return doc
		}
	}
	t.Fatalf("no %s", kind)
	return ""
}
