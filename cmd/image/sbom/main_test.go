package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A root with this program, which was built of modules or of nothing but Go's
// own, and a package.
func TestWrite(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "86400")
	root := t.TempDir()
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "var/lib/dpkg/status.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		filepath.Join(root, "kube-ipvs"): string(binary),
		filepath.Join(dir, "libc++1"):    "Package: libc++1\nVersion: 1:2.0+b1~x\nArchitecture: amd64\nDescription: a library\n Version: of lies\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out, again bytes.Buffer
	if err := write(&out, root, "v9"); err != nil {
		t.Fatal(err)
	}
	if err := write(&again, root, "v9"); err != nil || !bytes.Equal(out.Bytes(), again.Bytes()) {
		t.Errorf("%v; it differs the second time", err)
	}
	var d document
	if err := json.Unmarshal(out.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	ids := map[string]pkg{}
	for _, p := range d.Packages {
		if _, twice := ids[p.ID]; twice || strings.Trim(p.ID, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != "" {
			t.Errorf("%s is no identifier of one package", p.ID)
		}
		ids[p.ID] = p
	}
	for _, r := range d.Relationships {
		if _, known := ids[r.To]; !known || r.From != self && ids[r.From].ID == "" {
			t.Errorf("%v is of nothing", r)
		}
	}
	if len(d.Relationships) != len(d.Packages) || ids[program].Version != "v9" || d.Creation.Created != "1970-01-02T00:00:00Z" {
		t.Errorf("%+v", d)
	}
	lib := ids["SPDXRef-deb-libc--1"]
	if lib.Version != "1:2.0+b1~x" || lib.Refs[0].Locator != "pkg:deb/debian/libc%2B%2B1@1%3A2.0%2Bb1~x?arch=amd64" {
		t.Errorf("%+v", lib)
	}
	if err := os.WriteFile(filepath.Join(dir, "odd"), []byte("Package: odd\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := write(&out, root, "v9"); err == nil || !strings.Contains(err.Error(), "odd") {
		t.Errorf("a package without a version: %v", err)
	}
}
