package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// archive is an OCI image layout, whose files go where file puts them.
type archive struct {
	file func(name string, data []byte) error
	have map[string]bool // blobs
}

// descriptor names a blob.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

const mediaType = "application/vnd.oci.image."

// writeArchive writes all images to a file, which takes the place of an older one at once.
func writeArchive(path string, images []image) error {
	file, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	defer file.Close()
	out := tar.NewWriter(file)
	a := archive{have: map[string]bool{}, file: func(name string, data []byte) error {
		if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			return err
		}
		_, err := out.Write(data)
		return err
	}}
	var index []descriptor
	for _, i := range images {
		d, err := a.add(i)
		if err != nil {
			return fmt.Errorf("%s: %w", i.names[0], err)
		}
		for _, name := range i.names {
			d.Annotations = map[string]string{"io.containerd.image.name": name}
			index = append(index, d)
		}
	}
	text, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": index})
	if err != nil {
		return err
	}
	if err := a.file("index.json", text); err != nil {
		return err
	}
	if err := a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// add makes an image of one layer, and returns its manifest.
func (a *archive) add(i image) (descriptor, error) {
	root, err := os.MkdirTemp("", "image-")
	if err != nil {
		return descriptor{}, err
	}
	defer os.RemoveAll(root)
	if err := os.Chmod(root, 0o755); err != nil {
		return descriptor{}, err
	}
	if err := i.make(root); err != nil {
		return descriptor{}, err
	}
	var files, msg bytes.Buffer
	cmd := exec.Command("tar", "--create", "--numeric-owner", "--owner=0", "--group=0", "--mtime=@0", "--sort=name", "--directory", root, ".")
	cmd.Stdout, cmd.Stderr = &files, &msg
	if err := cmd.Run(); err != nil {
		return descriptor{}, fmt.Errorf("tar: %w: %s", err, msg.Bytes())
	}
	layer, err := a.blob("layer.v1.tar", files.Bytes())
	if err != nil {
		return descriptor{}, err
	}
	config, err := a.json("config.v1+json", map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": i.config,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layer.Digest}}})
	if err != nil {
		return descriptor{}, err
	}
	return a.json("manifest.v1+json", map[string]any{
		"schemaVersion": 2, "mediaType": mediaType + "manifest.v1+json", "config": config, "layers": []descriptor{layer}})
}

func (a *archive) json(kind string, v any) (descriptor, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return a.blob(kind, text)
}

func (a *archive) blob(kind string, data []byte) (descriptor, error) {
	sum := fmt.Sprintf("%x", sha256.Sum256(data))
	d := descriptor{MediaType: mediaType + kind, Digest: "sha256:" + sum, Size: len(data)}
	if a.have[sum] {
		return d, nil
	}
	a.have[sum] = true
	return d, a.file(strings.Join([]string{"blobs", "sha256", sum}, "/"), data)
}

// registry leaves an image in the folder that agnhost serves as a registry.
func registry(root, name, tag string, i image) error {
	dir := filepath.Join(root, "var/registry", name)
	a := archive{have: map[string]bool{}, file: func(blob string, data []byte) error {
		sum := filepath.Base(blob)
		// It asks for each in the folder of its kind.
		for _, kind := range []string{"blobs", "manifests"} {
			to := filepath.Join(dir, kind, "sha256", sum[:2], sum)
			if err := errors.Join(os.MkdirAll(to, 0o755), os.WriteFile(filepath.Join(to, "data"), data, 0o644)); err != nil {
				return err
			}
		}
		return nil
	}}
	manifest, err := a.add(i)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "manifests", tag), []byte(manifest.Digest), 0o644)
}
