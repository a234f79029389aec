package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sample is a release whose files no machine has anything to do with.
var sample = release{
	version: "v1.2.3-rc.1", at: time.Unix(86400, 0).UTC(), revision: "c0ffee", compiler: "go1.26.8",
	source: "https://example.com/kube-ipvs", builder: "https://example.com/builder", image: "registry.example.com/kube-ipvs",
}

// entry is a file of an archive.
type entry struct {
	head tar.Header
	text []byte
}

func unpack(t *testing.T, packed []byte) map[string]entry {
	t.Helper()
	out := map[string]entry{}
	for r := tar.NewReader(bytes.NewReader(packed)); ; {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if head.Uid != 0 || head.Gid != 0 || !head.ModTime.Equal(sample.at) {
			t.Errorf("%s is of %d:%d at %s", head.Name, head.Uid, head.Gid, head.ModTime)
		}
		out[head.Name] = entry{*head, text}
	}
}

func gunzip(t *testing.T, packed []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// write makes files, with a umask and in an order that may not matter.
func write(t *testing.T, root string, umask int, files ...string) {
	t.Helper()
	defer syscall.Umask(syscall.Umask(umask))
	for _, name := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("this is "+name), 0o777&^0o111); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(filepath.Join(root, files[0]), 0o700), os.Symlink("b", filepath.Join(root, "a/link")), os.Mkdir(filepath.Join(root, "tmp"), 0o777), os.Chmod(filepath.Join(root, "tmp"), os.ModeSticky|0o777)); err != nil {
		t.Fatal(err)
	}
}

const dockerfile = "FROM golang\nUSER 7\nFROM scratch\nARG VERSION\nLABEL a.version=\"$VERSION\" \\\n  a.revision=\"$REVISION\"\nENV PATH=/bin\nUSER 0:0\nENTRYPOINT [\"/a/b\"]\nCMD [\"run\"]\n"

// imageOf returns the layout of an image whose architectures have the same files.
func imageOf(t *testing.T, umask int, files ...string) []byte {
	t.Helper()
	work := t.TempDir()
	for _, arch := range architectures {
		write(t, filepath.Join(work, "root-"+arch), umask, files...)
	}
	file := filepath.Join(work, "Dockerfile")
	if err := os.WriteFile(file, []byte(dockerfile), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := sample.writeImage(&out, work, file); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Who reads a layout finds each part by the digest and size that another names, down to
// what the layers hold.
func TestImageIsWhole(t *testing.T) {
	files := unpack(t, imageOf(t, 0o022, "a/b", "c"))
	used := map[string]bool{"oci-layout": true, "index.json": true}
	read := func(d descriptor, mediaType string, to any) []byte {
		name := strings.Replace(d.Digest, "sha256:", "blobs/sha256/", 1)
		text := files[name].text
		used[name] = true
		if d.MediaType != mediaType || d.Size != len(text) || "sha256:"+digestOf(text) != d.Digest {
			t.Errorf("%+v is of %d bytes that are not its own", d, len(text))
		}
		if to != nil {
			if err := json.Unmarshal(text, to); err != nil {
				t.Fatal(err)
			}
		}
		return text
	}
	var top, all index
	if err := json.Unmarshal(files["index.json"].text, &top); err != nil || len(top.Manifests) != 1 {
		t.Fatalf("%+v, %v", top, err)
	}
	if name := top.Manifests[0].Annotations["org.opencontainers.image.ref.name"]; name != string(sample.version) {
		t.Errorf("the image is called %q", name)
	}
	read(top.Manifests[0], mediaIndex, &all)
	var have []string
	for _, d := range all.Manifests {
		var m manifest
		read(d, mediaManifest, &m)
		var c imageConfig
		read(m.Config, mediaConfig, &c)
		if *d.Platform != c.platform || c.OS != "linux" || !c.Created.Equal(sample.at) {
			t.Errorf("%+v has the configuration %+v", d.Platform, c)
		}
		have = append(have, c.Architecture)
		layer := gunzip(t, read(m.Layers[0], mediaLayer, nil))
		if !slices.Equal(c.RootFS.Diffs, []string{"sha256:" + digestOf(layer)}) {
			t.Errorf("the layer of %s is not what its configuration says", c.Architecture)
		}
		checkLayer(t, unpack(t, layer))
		checkConfig(t, c.Config)
	}
	if !slices.Equal(have, architectures) {
		t.Errorf("it is for %v", have)
	}
	for name := range files {
		if !used[name] {
			t.Errorf("%s is of nothing", name)
		}
	}
}

func checkLayer(t *testing.T, files map[string]entry) {
	t.Helper()
	for name, mode := range map[string]int64{"a/": 0o755, "a/b": 0o755, "a/link": 0o777, "c": 0o644, "tmp/": 0o1777} {
		if head := files[name].head; head.Mode != mode {
			t.Errorf("%s has the mode %o", name, head.Mode)
		}
	}
	if len(files) != 5 || files["a/link"].head.Linkname != "b" || string(files["a/b"].text) != "this is a/b" {
		t.Errorf("the layer has %v", slices.Collect(maps.Keys(files)))
	}
}

func checkConfig(t *testing.T, c runtimeConfig) {
	t.Helper()
	if c.User != "0:0" || !slices.Equal(c.Env, []string{"PATH=/bin"}) || !slices.Equal(c.Entrypoint, []string{"/a/b"}) || !slices.Equal(c.Cmd, []string{"run"}) {
		t.Errorf("it is run as %+v", c)
	}
	if c.Labels["a.version"] != string(sample.version) || c.Labels["a.revision"] != sample.revision || len(c.Labels) != 2 {
		t.Errorf("it has the labels %v", c.Labels)
	}
}

// Neither the umask nor the order in which files were written is seen.
func TestImageIsTheSameAgain(t *testing.T) {
	if !bytes.Equal(imageOf(t, 0o022, "a/b", "c"), imageOf(t, 0o077, "a/b", "c")) {
		t.Error("the image differs by the umask")
	}
	if bytes.Equal(imageOf(t, 0o022, "a/b", "c"), imageOf(t, 0o022, "a/b", "d")) {
		t.Error("images of different files are the same")
	}
}

// What a layer cannot have is refused, rather than left out.
func TestImageRefusesDevices(t *testing.T) {
	root := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(root, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := packTree(root, sample.at); err == nil || !strings.Contains(err.Error(), "fifo") {
		t.Errorf("a pipe: %v", err)
	}
}

// The Dockerfile of this tree is one that readDockerfile understands.
func TestReadDockerfile(t *testing.T) {
	c, err := readDockerfile("../../Dockerfile", map[string]string{"VERSION": "v1"})
	if err != nil || c.User != "0:0" || len(c.Entrypoint) != 1 || c.Labels["org.opencontainers.image.version"] != "v1" || len(c.Labels) < 5 {
		t.Errorf("%+v, %v", c, err)
	}
}
