package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// script runs a script of this folder, with variables.
func script(t *testing.T, name string, variables []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), variables...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A cosign that writes down what it is told signs the checksums and the image, once each.
func TestSign(t *testing.T) {
	folder := t.TempDir()
	sums, log, fake := filepath.Join(folder, "SHA256SUMS"), filepath.Join(folder, "log"), filepath.Join(folder, "cosign")
	for file, text := range map[string]string{sums: "", fake: "#!/bin/sh\necho \"$@\" >>" + log + "\n"} {
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := script(t, "./sign", []string{"COSIGN=" + fake, "COSIGN_KEY=k"}, folder, "r.example.com/i@sha256:0"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	have, err := os.ReadFile(log)
	if want := "sign-blob --yes --key k --bundle " + sums + ".sigstore.json " + sums + "\nsign --yes --key k --recursive r.example.com/i@sha256:0\n"; err != nil || string(have) != want {
		t.Errorf("%v: cosign was told %q", err, have)
	}
	out, err := script(t, "./sign", []string{"COSIGN=" + folder + "/none"}, folder)
	if err != nil || !strings.Contains(out, "nothing is signed") {
		t.Errorf("without cosign: %v: %s", err, out)
	}
	if _, err := script(t, "./sign", []string{"COSIGN=" + fake}, filepath.Join(folder, "none")); err == nil {
		t.Error("a folder without checksums is signed")
	}
}

// What is not committed is in no release.
func TestBuildRefusesChanges(t *testing.T) {
	root := t.TempDir()
	text, err := os.ReadFile("build")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "cmd/release/build")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "git", "-C", root, "init", "-q").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := script(t, path, nil, "v1.0.0", filepath.Join(t.TempDir(), "out"))
	if err == nil || !strings.Contains(out, "not committed") || !strings.Contains(out, "?? cmd/") {
		t.Errorf("%v: %s", err, out)
	}
}
