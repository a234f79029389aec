package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The version before is the last release's, also for the commit of a release; a pre-release is
// none, and without releases it is the one that is written down.
func TestPreviousVersion(t *testing.T) {
	root := t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = root
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %v: %v", name, args, err)
		}
		return strings.TrimSpace(string(out))
	}
	commit := func(tags ...string) string {
		t.Helper()
		run("git", "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "--allow-empty", "-m", "change")
		for _, tag := range tags {
			run("git", "tag", tag)
		}
		return run("git", "rev-parse", "HEAD")
	}
	script, err := os.ReadFile("previous")
	if err != nil {
		t.Fatal(err)
	}
	run("git", "init", "-q")
	written := commit()
	for file, text := range map[string]string{"previous": string(script), "life/previous": written + "\n"} {
		path := filepath.Join(root, "test/e2e", file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(when, want string) {
		t.Helper()
		if got := run("test/e2e/previous", "--revision"); got != want {
			t.Errorf("%s it is %q, want %q", when, got, want)
		}
	}
	expect("in the first commit", written)
	commit("v0.1.0-rc.1", "start")
	commit()
	expect("without a release", written)
	first := commit("v0.1.0")
	expect("for the first release", written)
	commit()
	expect("after the first release", first)
	commit("v0.2.0-rc.1")
	commit("v0.2.0")
	expect("for the second release", first)
	if err := os.WriteFile(filepath.Join(root, "test/e2e/life/previous"), []byte(strings.Repeat("0", 40)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run("git", "tag", "-d", "v0.1.0", "v0.2.0")
	expect("without a history", "")
}
