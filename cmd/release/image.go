package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"time"
)

// architectures are those of the image, in Go's and OCI's words.
var architectures = []string{"amd64", "arm64"}

// descriptor names a blob: https://github.com/opencontainers/image-spec/blob/main/descriptor.md
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// index lists the manifests of architectures.
type index struct {
	Schema    int          `json:"schemaVersion"`
	MediaType string       `json:"mediaType"`
	Manifests []descriptor `json:"manifests"`
}

type manifest struct {
	Schema      int               `json:"schemaVersion"`
	MediaType   string            `json:"mediaType"`
	Config      descriptor        `json:"config"`
	Layers      []descriptor      `json:"layers"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// imageConfig is an image's own: https://github.com/opencontainers/image-spec/blob/main/config.md
type imageConfig struct {
	Created time.Time `json:"created"`
	platform
	Config runtimeConfig `json:"config"`
	RootFS rootFS        `json:"rootfs"`
}

type rootFS struct {
	Type  string   `json:"type"`
	Diffs []string `json:"diff_ids"`
}

const (
	media         = "application/vnd.oci.image."
	mediaIndex    = media + "index.v1+json"
	mediaManifest = media + "manifest.v1+json"
	mediaConfig   = media + "config.v1+json"
	mediaLayer    = media + "layer.v1.tar+gzip"
)

// blobs are the parts of an image layout by the digests that name them.
type blobs map[string][]byte

func digestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func (b blobs) add(mediaType string, text []byte) descriptor {
	digest := digestOf(text)
	b[digest] = text
	return descriptor{MediaType: mediaType, Digest: "sha256:" + digest, Size: len(text)}
}

func (b blobs) addJSON(mediaType string, v any) (descriptor, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return b.add(mediaType, text), nil
}

// writeImage writes an OCI image layout, as a tar, of the root file systems work/root-ARCH.
// Its index has one entry: the image of all architectures, which has the version as its name.
func (r release) writeImage(out io.Writer, work, dockerfile string) error {
	config, err := readDockerfile(dockerfile, map[string]string{"VERSION": string(r.version), "REVISION": r.revision})
	if err != nil {
		return err
	}
	b := blobs{}
	all := index{Schema: 2, MediaType: mediaIndex}
	for _, arch := range architectures {
		d, err := r.addArchitecture(b, filepath.Join(work, "root-"+arch), arch, config)
		if err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
		all.Manifests = append(all.Manifests, d)
	}
	image, err := b.addJSON(mediaIndex, all)
	if err != nil {
		return err
	}
	image.Annotations = map[string]string{"org.opencontainers.image.ref.name": string(r.version)}
	top, err := json.Marshal(index{Schema: 2, MediaType: mediaIndex, Manifests: []descriptor{image}})
	if err != nil {
		return err
	}
	return r.writeLayout(out, top, b)
}

// addArchitecture adds an image of one layer, and returns its manifest.
func (r release) addArchitecture(b blobs, root, arch string, config runtimeConfig) (descriptor, error) {
	files, err := packTree(root, r.at)
	if err != nil {
		return descriptor{}, err
	}
	packed, err := compress(files)
	if err != nil {
		return descriptor{}, err
	}
	layer := b.add(mediaLayer, packed)
	at := platform{Architecture: arch, OS: "linux"}
	settings, err := b.addJSON(mediaConfig, imageConfig{
		Created: r.at, platform: at, Config: config, RootFS: rootFS{Type: "layers", Diffs: []string{"sha256:" + digestOf(files)}},
	})
	if err != nil {
		return descriptor{}, err
	}
	d, err := b.addJSON(mediaManifest, manifest{
		Schema: 2, MediaType: mediaManifest, Config: settings, Layers: []descriptor{layer}, Annotations: config.Labels,
	})
	d.Platform = &at
	return d, err
}

// writeLayout writes the files of an image layout.
func (r release) writeLayout(out io.Writer, top []byte, b blobs) error {
	w := tar.NewWriter(out)
	add := func(name string, text []byte) error {
		return addFile(w, tar.Header{Name: name, Mode: 0o644, ModTime: r.at}, text)
	}
	if err := add("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if err := add("index.json", top); err != nil {
		return err
	}
	for _, digest := range slices.Sorted(maps.Keys(b)) {
		if err := add("blobs/sha256/"+digest, b[digest]); err != nil {
			return err
		}
	}
	return w.Close()
}
