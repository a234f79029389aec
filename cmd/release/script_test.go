package main

import (
	"encoding/json"
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
	program(t, fake, log, "")
	if err := os.WriteFile(sums, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := script(t, "./sign", []string{"COSIGN=" + fake, "COSIGN_KEY=k"}, folder, "r.example.com/i@sha256:0"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	have, err := os.ReadFile(log)
	if want := "cosign sign-blob --yes --key k --bundle " + sums + ".sigstore.json " + sums + "\ncosign sign --yes --key k --recursive r.example.com/i@sha256:0\n"; err != nil || string(have) != want {
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

// program writes a shell script that writes its arguments to a log before it runs a body.
func program(t *testing.T, path, log, body string) {
	t.Helper()
	text := "#!/bin/sh\necho \"$(basename \"$0\") $*\" >>" + log + "\n" + body + "\n"
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

// The image is pushed before the chart that names it, and signed by the digest that was
// built. What is another image in the registry, or another file in the folder, is not signed.
func TestPublish(t *testing.T) {
	folder, tools := t.TempDir(), t.TempDir()
	layout := imageOf(t, 0o022, "a/b")
	var top index
	if err := json.Unmarshal(unpack(t, layout)["index.json"].text, &top); err != nil {
		t.Fatal(err)
	}
	digest, log := top.Manifests[0].Digest, filepath.Join(tools, "log")
	sums := digestOf(layout) + "  kube-ipvs-image.tar\n"
	for file, text := range map[string]string{"kube-ipvs-image.tar": string(layout), "SHA256SUMS": sums} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for tool, body := range map[string]string{"crane": "[ $1 = push ] || echo $DIGEST", "helm": "", "cosign": ""} {
		program(t, filepath.Join(tools, tool), log, body)
	}
	publish := func(digest string) (string, string, error) {
		t.Helper()
		if err := os.WriteFile(log, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := script(t, "./publish", []string{"CRANE=" + tools + "/crane", "HELM=" + tools + "/helm", "COSIGN=" + tools + "/cosign", "DIGEST=" + digest}, "v1.2.3", folder, "r.example.com/i", "r.example.com/charts")
		told, readErr := os.ReadFile(log)
		if readErr != nil {
			t.Fatal(readErr)
		}
		return out, string(told), err
	}
	out, told, err := publish(digest)
	_, rest, _ := strings.Cut(told, "r.example.com/i:v1.2.3\n") // behind the folder that is pushed
	want := "crane digest r.example.com/i:v1.2.3\nhelm push " + folder + "/kube-ipvs-1.2.3.tgz oci://r.example.com/charts\n" +
		"cosign sign-blob --yes --bundle " + folder + "/SHA256SUMS.sigstore.json " + folder + "/SHA256SUMS\ncosign sign --yes --recursive r.example.com/i@" + digest + "\n"
	if err != nil || !strings.HasPrefix(told, "crane push ") || rest != want || !strings.Contains(out, "r.example.com/i:v1.2.3@"+digest) {
		t.Errorf("%v: %s\n%s", err, out, told)
	}
	if out, told, err := publish("sha256:0"); err == nil || !strings.Contains(out, "not the image that was built") || strings.Contains(told, "helm") || strings.Contains(told, "cosign") {
		t.Errorf("another image: %v: %s\n%s", err, out, told)
	}
	if err := os.WriteFile(filepath.Join(folder, "kube-ipvs-image.tar"), layout[1:], 0o600); err != nil {
		t.Fatal(err)
	}
	if out, told, err := publish(digest); err == nil || told != "" {
		t.Errorf("another file: %v: %s\n%s", err, out, told)
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
