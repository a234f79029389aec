package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"

	"sigs.k8s.io/yaml"
)

// writeChart writes the package of a chart with the version of the release, as helm reads
// it. helm package itself writes the time of day into it.
func (r release) writeChart(out io.Writer, folder string) error {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err := filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, file)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(file)
		if err == nil {
			text, err = r.edit(filepath.ToSlash(name), text)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		inside := path.Join(filepath.Base(folder), filepath.ToSlash(name))
		return addFile(w, tar.Header{Name: inside, Mode: 0o644, ModTime: r.at}, text)
	})
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	packed, err := compress(buf.Bytes())
	if err != nil {
		return err
	}
	_, err = out.Write(packed)
	return err
}

// edit returns a file of the chart as the release has it.
func (r release) edit(name string, text []byte) ([]byte, error) {
	switch name {
	case "Chart.yaml":
		return r.editMetadata(text)
	case "values.yaml":
		return r.editValues(text)
	}
	return text, nil
}

func (r release) editMetadata(text []byte) ([]byte, error) {
	meta := map[string]any{}
	if err := yaml.Unmarshal(text, &meta); err != nil {
		return nil, err
	}
	meta["version"], meta["appVersion"] = r.version.number(), string(r.version)
	if r.source != "" {
		meta["home"], meta["sources"] = r.source, []string{r.source}
	}
	notes, _ := meta["annotations"].(map[string]any)
	if notes == nil {
		return nil, errors.New("it has no annotations")
	}
	notes["artifacthub.io/prerelease"] = fmt.Sprint(r.version.prerelease() != "")
	if r.image != "" {
		notes["artifacthub.io/images"] = fmt.Sprintf("- name: kube-ipvs\n  image: %s:%s\n", r.image, r.version)
	}
	return yaml.Marshal(meta)
}

// noRepository matches the value that has to be set where no image is published, and what
// says so.
var noRepository = regexp.MustCompile(`(?m)^  # Required\. No container image is published: .*\n  repository: ""$`)

// editValues names the repository of the image, where it is known.
func (r release) editValues(text []byte) ([]byte, error) {
	if r.image == "" {
		return text, nil
	}
	if len(noRepository.FindAllIndex(text, -1)) != 1 {
		return nil, errors.New("it has no image.repository that can be set")
	}
	return noRepository.ReplaceAllLiteral(text, []byte("  # The repository that this chart was released with.\n  repository: "+r.image)), nil
}
