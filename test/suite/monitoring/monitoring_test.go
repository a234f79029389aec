// Package monitoring tests the chart's parts for Prometheus and Grafana: the
// alerts by promtool, and every query of the dashboards by a real Prometheus
// that scrapes a real kube-ipvs under traffic and trouble. The latter runs in
// the lab: make test-monitoring.
package monitoring

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const chart = "../../../charts/kube-ipvs"

var helm = os.Getenv("KUBE_IPVS_HELM")

// needTools skips a test where promtool and helm may be missing.
func needTools(t *testing.T) {
	t.Helper()
	if helm == "" {
		t.Skip("needs promtool and helm: make test-monitoring")
	}
}

// render returns the objects of one template of the chart.
func render(t *testing.T, template string, args ...string) []map[string]any {
	t.Helper()
	return renderChart(t, chart, template, args...)
}

// renderChart returns the objects of one template of the chart in a folder.
func renderChart(t *testing.T, folder, template string, args ...string) []map[string]any {
	t.Helper()
	cmd := exec.Command(helm, append([]string{"template", "kube-ipvs", folder, "--namespace", "kube-system", "--values", "testdata/values.yaml",
		"--api-versions", "monitoring.coreos.com/v1/PrometheusRule", "--api-versions", "monitoring.coreos.com/v1/PodMonitor",
		"--api-versions", "monitoring.coreos.com/v1/ServiceMonitor", "--show-only", "templates/" + template}, args...)...)
	var failed strings.Builder
	cmd.Stderr = &failed
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(cmd.Args, " "), err, failed.String())
	}
	var objects []map[string]any
	for part := range strings.SplitSeq("\n"+string(out), "\n---\n") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		var o map[string]any
		if err := yaml.Unmarshal([]byte(part), &o); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	return objects
}

// ruleFile is a rule file of Prometheus, and the spec of a PrometheusRule.
type ruleFile struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

type rule struct {
	Record      string            `json:"record"`
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// rules renders the alerts, and writes them to a file for Prometheus.
func rules(t *testing.T, file string, args ...string) []rule {
	t.Helper()
	return rulesOf(t, chart, file, args...)
}

// rulesOf does so for the chart in a folder.
func rulesOf(t *testing.T, folder, file string, args ...string) []rule {
	t.Helper()
	objects := renderChart(t, folder, "prometheusrule.yaml", args...)
	if len(objects) != 1 || objects[0]["kind"] != "PrometheusRule" {
		t.Fatalf("rendered %v", objects)
	}
	text, err := yaml.Marshal(objects[0]["spec"])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var f ruleFile
	if err := yaml.UnmarshalStrict(text, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Groups) != 1 {
		t.Fatalf("%d groups of rules", len(f.Groups))
	}
	return f.Groups[0].Rules
}

func promtool(dir string, args ...string) error {
	cmd := exec.Command("promtool", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("promtool %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
