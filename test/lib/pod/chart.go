package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kube-ipvs/test/lib/testbed"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// Chart is the rendered chart: a pod of one init container and another container, and
// its configuration.
type Chart struct {
	Spec   corev1.PodSpec
	Config map[string]string
}

// ReadChart reads a file with helm's output.
func ReadChart(file string) (Chart, error) {
	var out Chart
	text, err := os.ReadFile(file)
	if err != nil {
		return out, err
	}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var set appsv1.DaemonSet
		var values corev1.ConfigMap
		if err := yaml.Unmarshal([]byte(document), &set); err == nil && set.Kind == "DaemonSet" {
			out.Spec = set.Spec.Template.Spec
		}
		if err := yaml.Unmarshal([]byte(document), &values); err == nil && values.Kind == "ConfigMap" && values.Data["config.yaml"] != "" {
			out.Config = values.Data
		}
	}
	if len(out.Spec.Containers) != 1 || len(out.Spec.InitContainers) != 1 || out.Config == nil {
		return out, fmt.Errorf("%s has %d containers, %d init containers, configuration %q", file, len(out.Spec.Containers), len(out.Spec.InitContainers), out.Config)
	}
	return out, nil
}

// Script writes a program into the folder dir that runs kube-ipvs in a container of the
// chart, in the files of an image, with the arguments of its caller instead of the
// container's own. It sees the folder shared, too.
func (c Chart) Script(dir, image, shared string, in corev1.Container) (string, error) {
	k := Kubelet{Node: "node", Image: image, Dir: dir, ConfigMap: func(string) (map[string]string, error) { return c.Config, nil }}
	out, err := k.Contain(c.Spec, in)
	if err != nil {
		return "", err
	}
	out.Args = out.Args[:1]
	out.Mounts = append(out.Mounts, Mount{Source: shared, Target: shared, ReadOnly: true})
	program, variable, err := out.Program()
	if err != nil {
		return "", err
	}
	script := filepath.Join(dir, "container-"+in.Name)
	return script, testbed.WriteScript(script, fmt.Sprintf("#!/bin/sh\nexec env '%s' %s \"$@\"\n", variable, program))
}
