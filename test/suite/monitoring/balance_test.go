package monitoring

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// balanced is what the dashboard of the balance must show of series, by panel. Pods a and b
// have the full weight, c in slow start a fifth of it, d drains, and the port ssh is alone.
var balanced = struct {
	series map[string]string
	panels map[string]string // the highest value
}{
	map[string]string{
		"kube_ipvs_endpoint_weight" + at("n1", "http", "a"):                               "20x20",
		"kube_ipvs_endpoint_weight" + at("n1", "http", "b"):                               "20x20",
		"kube_ipvs_endpoint_weight" + at("n1", "http", "c"):                               "4x20",
		"kube_ipvs_endpoint_weight" + at("n1", "http", "d"):                               "0x20",
		"kube_ipvs_endpoint_weight" + at("n1", "ssh", "a"):                                "1x20",
		"kube_ipvs_endpoint_weight" + at("n2", "http", "a"):                               "20x20",
		"kube_ipvs_endpoint_active_connections" + at("n1", "http", "a"):                   "40x20",
		"kube_ipvs_endpoint_active_connections" + at("n2", "http", "a"):                   "20x20",
		"kube_ipvs_endpoint_active_connections" + at("n1", "http", "b"):                   "20x20",
		"kube_ipvs_endpoint_active_connections" + at("n1", "http", "c"):                   "4x20",
		"kube_ipvs_endpoint_active_connections" + at("n1", "http", "d"):                   "900x20",
		"kube_ipvs_endpoint_active_connections" + at("n1", "ssh", "a"):                    "5x20",
		"kube_ipvs_endpoint_inactive_connections" + at("n1", "http", "a"):                 "10x20",
		"kube_ipvs_endpoint_connections_total" + at("n1", "http", "a"):                    "0+600x20",
		"kube_ipvs_endpoint_connections_total" + at("n1", "http", "b"):                    "0+600x20",
		"kube_ipvs_endpoint_connections_total" + at("n1", "http", "c"):                    "0+120x20",
		"kube_ipvs_endpoint_connections_total" + at("n1", "http", "d"):                    "0+600x20",
		"kube_ipvs_endpoint_connections_limit" + at("n1", "http", "a"):                    "100x20",
		`kube_ipvs_endpoint_standing{standing="slow_start", ` + at("n1", "http", "c")[1:]: "1x20",
		`kube_ipvs_endpoint_standing{standing="draining", ` + at("n1", "http", "d")[1:]:   "1x20",
		`kube_ipvs_endpoint_standing{standing="draining", ` + at("n2", "http", "d")[1:]:   "1x20",
	},
	map[string]string{
		"Open connections: busiest over mean":        "1.8",               // 3 of 3, 1 and 1
		"Open connections: coefficient of variation": "0.565685424949238", // the square root of 8/9, of a mean of 5/3
		"New connections: busiest over mean":         "1",
		"New connections: coefficient of variation":  "0",
		"Slow start":                "1",
		"Draining":                  "1",
		"At the limit":              "0",
		"Weight 0":                  "0",
		"Endpoints by standing":     "1",
		"Endpoints with a standing": "2", // nodes
		"Filled":                    "0.5",
	},
}

// at returns the labels of an endpoint of the Service web.
func at(node, port, endpoint string) string {
	return `{job="kube-ipvs", instance="` + node + `", namespace="shop", service="web", port="` + port + `", endpoint="` + endpoint + `"}`
}

// The dashboard of the balance tells an even load from an uneven one, by weight.
func TestBalance(t *testing.T) {
	needTools(t)
	d := dashboards(t)["balance"]
	var input []map[string]string
	for series, values := range balanced.series {
		input = append(input, map[string]string{"series": series, "values": values})
	}
	var tests []map[string]any
	for title, value := range balanced.panels {
		i := slices.IndexFunc(d.Panels, func(p panel) bool { return p.Title == title })
		if i < 0 {
			t.Errorf("there is no panel %q", title)
			continue
		}
		expr := strings.ReplaceAll(d.Panels[i].Targets[0].Expr, "$__rate_interval", "5m")
		expr = `abs(max(` + chosenValues.Replace(expr) + `) - ` + value + `) < bool 1e-6`
		tests = append(tests, map[string]any{"expr": expr, "eval_time": "10m", "exp_samples": []any{map[string]any{"labels": "{}", "value": 1}}})
	}
	text, err := yaml.Marshal(map[string]any{"evaluation_interval": "1m", "tests": []any{map[string]any{"interval": "1m", "input_series": input, "promql_expr_test": tests}}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tests.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := promtool(dir, "test", "rules", "tests.yaml"); err != nil {
		t.Error(err)
	}
}
