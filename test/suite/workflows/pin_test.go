// Package workflows tests the workflows of .github: what actionlint, which make lint runs,
// does not know of this project.
package workflows

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kube-ipvs/test/lib/docs"
)

// pin runs .github/pin, of this tree or of a copy in another.
func pin(t *testing.T, root string, variables []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(root, ".github/pin"), args...)
	cmd.Env = append(os.Environ(), variables...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestAllIsPinned(t *testing.T) {
	if out, err := pin(t, docs.Root(t), nil, "--check"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// forge makes a repository with an annotated tag of its first commit, and returns the folder
// of its owner's folder, and the commit.
func forge(t *testing.T) (dir, commit string) {
	t.Helper()
	dir = t.TempDir()
	git := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", filepath.Join(dir, "owner/action"), "-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if err := os.MkdirAll(filepath.Join(dir, "owner/action"), 0o700); err != nil {
		t.Fatal(err)
	}
	git("init", "-q")
	git("commit", "-q", "--allow-empty", "-m", "first")
	git("tag", "-a", "-m", "one", "v1.0.0")
	commit = git("rev-parse", "HEAD")
	git("commit", "-q", "--allow-empty", "-m", "second")
	return dir, commit
}

// An action becomes pinned to the commit of its tag, also where only a part of it is used, and
// an image to the digest of its own; what has no tag fails.
func TestPin(t *testing.T) {
	from, commit := forge(t)
	root, digest := t.TempDir(), "sha256:"+strings.Repeat("0f", 32)
	crane := filepath.Join(root, "crane")
	text := "jobs:\n  a:\n    container:\n      image: golang:1\n    steps:\n      - uses: owner/action@v1 # v1.0.0\n      - uses: owner/action/part@0000 # v1.0.0\n      - uses: ./here\n"
	for file, text := range map[string]string{
		".github/pin": readPin(t), "crane": "#!/bin/sh\n[ \"$1 $2\" = 'digest golang:1' ] && echo " + digest + "\n",
		".github/workflows/a.yml": text, "Dockerfile": "FROM --platform=$BUILDPLATFORM golang:1@sha256:1 AS build\nFROM scratch\n",
	} {
		path := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	out, err := pin(t, root, nil, "--check")
	if n := strings.Count(out, "\n.github/workflows/a.yml:"); err == nil || n != 3 || !strings.Contains(out, "Dockerfile:1") || !strings.Contains(out, "owner/action is pinned to more than one") {
		t.Errorf("before it is pinned: %v: %s", err, out)
	}
	variables := []string{"FORGE=file://" + from, "CRANE=" + crane}
	for range 2 { // the second time nothing changes
		if out, err := pin(t, root, variables); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		want := fmt.Sprintf("jobs:\n  a:\n    container:\n      image: golang:1@%s\n    steps:\n      - uses: owner/action@%s # v1.0.0\n      - uses: owner/action/part@%[2]s # v1.0.0\n      - uses: ./here\n", digest, commit)
		if got := readFile(t, root, ".github/workflows/a.yml"); got != want {
			t.Errorf("the workflow is\n%s", got)
		}
		if got := readFile(t, root, "Dockerfile"); got != "FROM --platform=$BUILDPLATFORM golang:1@"+digest+" AS build\nFROM scratch\n" {
			t.Errorf("the Dockerfile is\n%s", got)
		}
	}
	if err := os.WriteFile(filepath.Join(root, ".github/workflows/b.yml"), []byte("      - uses: owner/action@v2 # v2.0.0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := pin(t, root, variables); err == nil || !strings.Contains(out, "owner/action has no tag v2.0.0") {
		t.Errorf("a tag that is not there: %v: %s", err, out)
	}
}

func readPin(t *testing.T) string { return readFile(t, docs.Root(t), ".github/pin") }

func readFile(t *testing.T, root, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
