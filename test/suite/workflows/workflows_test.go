package workflows

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kube-ipvs/test/lib/docs"

	"go.yaml.in/yaml/v3"
)

// workflow is one, as far as tests look into it.
type workflow struct {
	Permissions permissions
	Jobs        map[string]job
}

type job struct {
	Permissions permissions
	Uses        string
	With        map[string]string
	Strategy    struct{ Matrix matrix }
	Steps       []step
}

type matrix struct{ Target []string }

type step struct {
	Uses, Run string
	With      map[string]string
}

// permissions are nil where none are given, which may be all.
type permissions map[string]string

func read(t *testing.T, parts ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{docs.Root(t)}, parts...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// workflows returns all by the names of their files.
func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(docs.Root(t), ".github/workflows/*"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%v: %v", files, err)
	}
	out := map[string]workflow{}
	for _, file := range files {
		var w workflow
		if err := yaml.Unmarshal([]byte(read(t, ".github/workflows", filepath.Base(file))), &w); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out[filepath.Base(file)] = w
	}
	return out
}

var (
	called = regexp.MustCompile(`(?m)(?:^|[;&|]|\blogged \S+(?: nice -n 19)?) *make ([^|;&\n]+?)(?: 2>&1)?(?: *[|;&].*)?$`)
	rule   = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):([^=\n]*)$`)
)

// targets returns those that a workflow makes, with their variables.
func (w workflow) targets() (out []string) {
	for _, j := range w.Jobs {
		if strings.HasSuffix(j.Uses, "/make.yml") {
			if t := j.With["target"]; !strings.Contains(t, "matrix.target") {
				out = append(out, t)
			} else {
				out = append(out, j.Strategy.Matrix.Target...)
			}
		}
		for _, s := range j.Steps {
			for _, m := range called.FindAllStringSubmatch(s.Run, -1) {
				out = append(out, m[1])
			}
		}
	}
	return out
}

// rules returns the targets of the Makefile, each with those that it consists of.
func rules(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, m := range rule.FindAllStringSubmatch(read(t, "Makefile"), -1) {
		out[m[1]] = append(out[m[1]], strings.Fields(m[2])...)
	}
	return out
}

func name(target string) string { return strings.Fields(target)[0] }

// A workflow makes only what the Makefile has.
func TestTargetsExist(t *testing.T) {
	have, n := rules(t), 0
	for file, w := range workflows(t) {
		for _, target := range w.targets() {
			n++
			if have[name(target)] == nil && !strings.Contains(read(t, "Makefile"), "\n"+name(target)+":\n") {
				t.Errorf("%s: the Makefile has no target %q", file, name(target))
			}
		}
	}
	if n < 25 {
		t.Errorf("workflows make %d targets", n)
	}
}

// What .ci/run plays is played for every change, with the same variables.
func TestChangesPlayCI(t *testing.T) {
	all := workflows(t)
	played := append(all["ci.yml"].targets(), all["compare.yml"].targets()...)
	have := rules(t)
	calls := called.FindAllStringSubmatch(read(t, ".ci/run"), -1)
	if len(calls) < 6 {
		t.Fatalf(".ci/run calls %q", calls)
	}
	for _, m := range calls {
		parts := []string{m[1]}
		if parts[0] == "test" {
			parts = have["test"]
		}
		for _, want := range parts {
			if !slices.Contains(played, want) {
				t.Errorf("no workflow for changes plays make %s", want)
			}
		}
	}
}

// No workflow has a right by default that it does not name, and none writes anything but
// in a job that says so.
func TestRights(t *testing.T) {
	for file, w := range workflows(t) {
		if w.Permissions == nil {
			t.Errorf("%s has all rights that the repository gives", file)
		}
		for what, right := range w.Permissions {
			if right != "read" {
				t.Errorf("%s: all jobs may %s %s", file, right, what)
			}
		}
		for id, j := range w.Jobs {
			for _, s := range j.Steps {
				if strings.HasPrefix(s.Uses, "actions/checkout@") && s.With["persist-credentials"] != "false" {
					t.Errorf("%s: %s leaves the token beside the code", file, id)
				}
				if strings.Contains(s.Run, "${{") {
					t.Errorf("%s: %s puts an expression into a script, which runs what it becomes", file, id)
				}
			}
		}
	}
}

// Changes of strangers run without rights and secrets; what has them runs none of their code.
func TestStrangersHaveNoRights(t *testing.T) {
	for file := range workflows(t) {
		text := read(t, ".github/workflows", file)
		if strings.Contains(text, "pull_request_target") {
			t.Errorf("%s runs for changes with the rights of the repository", file)
		}
		if strings.Contains(text, "workflow_run:") && strings.Contains(text, "actions/checkout@") {
			t.Errorf("%s has rights, and fetches code", file)
		}
	}
}

// The summary has the report without its cases, and of a failure the end of the log as code.
func TestSummarize(t *testing.T) {
	dir := t.TempDir()
	report, log := filepath.Join(dir, "report"), filepath.Join(dir, "log")
	for file, text := range map[string]string{report: "# Report\n\n12 cases\n\n## Cases\n\n| a |\n", log: "```\ndiffers: <b>x</b>\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	summarize := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), filepath.Join(docs.Root(t), ".github/summarize"), args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	const head = "# Report\n\n12 cases\n\n"
	if got := summarize("success", report, log); got != head {
		t.Errorf("it is %q", got)
	}
	const end = "## It ended with: failure\n\n    ```\n    differs: <b>x</b>\n"
	if got := summarize("failure", report, log); got != head+end {
		t.Errorf("of a failure it is %q", got)
	}
	if got := summarize("cancelled", dir+"/none", dir+"/none"); got != strings.Replace(end[:strings.Index(end, "    ")], "failure", "cancelled", 1) {
		t.Errorf("without files it is %q", got)
	}
}

// All compile with the Go that go.mod asks for.
func TestGoVersion(t *testing.T) {
	m := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	versions := regexp.MustCompile(`golang:([0-9.]+)-|go-version: '([0-9.]+)'`)
	n := 0
	for _, file := range append(slices.Collect(files(t)), "Dockerfile") {
		for _, v := range versions.FindAllStringSubmatch(read(t, file), -1) {
			n++
			if got := v[1] + v[2]; got != m[1] {
				t.Errorf("%s has Go %s, and go.mod %s", file, got, m[1])
			}
		}
	}
	if n < 6 {
		t.Errorf("%d versions of Go are named", n)
	}
}

// files lists the paths of workflows.
func files(t *testing.T) func(func(string) bool) {
	t.Helper()
	return func(yield func(string) bool) {
		for file := range workflows(t) {
			if !yield(filepath.Join(".github/workflows", file)) {
				return
			}
		}
	}
}
