package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// A registry finds the manifest by its tag, and the manifest's parts by digest.
func TestRegistry(t *testing.T) {
	root := t.TempDir()
	empty := image{names: []string{"empty"}, make: func(string) error { return nil }}
	if err := registry(root, "empty", "testing", empty); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "var/registry/empty")
	digest, err := os.ReadFile(filepath.Join(dir, "manifests", "testing"))
	if err != nil {
		t.Fatal(err)
	}
	blob := func(kind, digest string) []byte {
		sum := digest[len("sha256:"):]
		text, err := os.ReadFile(filepath.Join(dir, kind, "sha256", sum[:2], sum, "data"))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	var manifest struct {
		MediaType string
		Config    descriptor
		Layers    []descriptor
	}
	if err := json.Unmarshal(blob("manifests", string(digest)), &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.MediaType == "" || len(manifest.Layers) != 1 {
		t.Fatalf("%+v", manifest)
	}
	for _, d := range append(manifest.Layers, manifest.Config) {
		if text := blob("blobs", d.Digest); len(text) != d.Size {
			t.Errorf("%d bytes of %+v", len(text), d)
		}
	}
}
