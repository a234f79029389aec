package chart

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
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
