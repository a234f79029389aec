package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// The chart of this tree as a package has the release's version, and else the same files.
func TestChartPackage(t *testing.T) {
	const folder = "../../charts/kube-ipvs"
	var out, again bytes.Buffer
	if err := sample.writeChart(&out, folder); err != nil {
		t.Fatal(err)
	}
	if err := sample.writeChart(&again, folder); err != nil || !bytes.Equal(out.Bytes(), again.Bytes()) {
		t.Errorf("%v; it differs the second time", err)
	}
	files := unpack(t, gunzip(t, out.Bytes()))
	var meta struct {
		Name, Version, AppVersion string
		Sources                   []string
		Annotations               map[string]string
	}
	if err := yaml.Unmarshal(files["kube-ipvs/Chart.yaml"].text, &meta); err != nil {
		t.Fatal(err)
	}
	if meta.Name != "kube-ipvs" || meta.Version != "1.2.3-rc.1" || meta.AppVersion != "v1.2.3-rc.1" || !slices.Equal(meta.Sources, []string{sample.source}) ||
		meta.Annotations["artifacthub.io/prerelease"] != "true" || !strings.Contains(meta.Annotations["artifacthub.io/images"], sample.image+":"+string(sample.version)) {
		t.Errorf("%+v", meta)
	}
	for name, file := range files {
		have, err := os.ReadFile(filepath.Join(filepath.Dir(folder), name))
		if err != nil {
			t.Fatal(err)
		}
		if changed := name == "kube-ipvs/Chart.yaml" || name == "kube-ipvs/values.yaml"; bytes.Equal(have, file.text) == changed {
			t.Errorf("%s has changed: %v", name, !changed)
		}
	}
	if _, ok := files["kube-ipvs/templates/daemonset.yaml"]; !ok {
		t.Errorf("it has %v", slices.Sorted(maps.Keys(files)))
	}
}

// Values name the image where it is known, and are as they were where it is not.
func TestValuesOfChart(t *testing.T) {
	text, err := os.ReadFile("../../charts/kube-ipvs/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	edited, err := sample.edit("values.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	var before, after map[string]any
	if err := yaml.Unmarshal(text, &before); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(edited, &after); err != nil {
		t.Fatal(err)
	}
	image := after["image"].(map[string]any)
	if image["repository"] != sample.image || bytes.Contains(edited, []byte("No container image is published")) {
		t.Errorf("image is %v", image)
	}
	image["repository"] = ""
	if a, b := marshal(t, before), marshal(t, after); a != b {
		t.Errorf("other values have changed: %s", b)
	}
	if same, err := (release{}).edit("values.yaml", text); err != nil || !bytes.Equal(same, text) {
		t.Errorf("%v: without an image the values have changed", err)
	}
	if _, err := sample.edit("values.yaml", []byte("image: {}\n")); err == nil {
		t.Error("values without image.repository are taken")
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
