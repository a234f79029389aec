package monitoring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"kube-ipvs/test/lib/testbed"
)

// prometheus is a running Prometheus that scrapes and evaluates each second.
type prometheus struct {
	api   string
	began time.Time
}

// startPrometheus runs one with the rules of a PrometheusRule, over targets by
// the name of their node, and a node_exporter of the first.
func startPrometheus(t *testing.T, rule string, targets map[string]string) *prometheus {
	t.Helper()
	dir := t.TempDir()
	var targetConfigs []any
	for node, at := range targets {
		targetConfigs = append(targetConfigs, map[string]any{"targets": []string{at}, "labels": map[string]string{"instance": node}})
	}
	write(t, filepath.Join(dir, "rules.yaml"), specOf(t, rule))
	write(t, filepath.Join(dir, "prometheus.yaml"), map[string]any{
		"global":     map[string]string{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{"rules.yaml"},
		"scrape_configs": []any{
			map[string]any{"job_name": "kube-ipvs", "honor_labels": true, "static_configs": targetConfigs},
			map[string]any{"job_name": "node-exporter", "static_configs": []any{map[string]any{"targets": []string{exporterAddress}, "labels": map[string]string{"instance": "node"}}}},
		},
	})
	const address = "127.0.0.1:9090"
	cmd := exec.Command("prometheus", "--config.file", filepath.Join(dir, "prometheus.yaml"), "--storage.tsdb.path", filepath.Join(dir, "data"),
		"--web.listen-address", address, "--log.level", "warn")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL) // no test reads its data
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus said:\n%s", said.String())
		}
	})
	p := &prometheus{api: "http://" + address + "/api/v1/", began: time.Now()}
	err := testbed.Await(t.Context(), patience, func() error { return p.get("status/runtimeinfo", nil, nil) })
	if err != nil {
		t.Fatalf("%v: %s", err, said.String())
	}
	return p
}

func write(t *testing.T, file string, content any) {
	t.Helper()
	text, err := yaml.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func specOf(t *testing.T, file string) any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var o map[string]any
	if err := yaml.Unmarshal(text, &o); err != nil || o["spec"] == nil {
		t.Fatalf("%s: %v: %s", file, err, text)
	}
	return o["spec"]
}

// get asks the API and reads the data of the answer.
func (p *prometheus) get(path string, query url.Values, data any) error {
	r, err := http.Get(p.api + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer r.Body.Close()
	var answer struct {
		Status, Error string
		Warnings      []string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %s: %w", path, r.Status, err)
	}
	if answer.Status != "success" || len(answer.Warnings) > 0 {
		return fmt.Errorf("%s: %s %q", path, answer.Error, answer.Warnings)
	}
	if data == nil {
		return nil
	}
	return json.Unmarshal(answer.Data, data)
}

// result is an instant vector or a matrix.
type result struct {
	Result []struct {
		Metric map[string]string
		Value  [2]any
		Values [][2]any
	}
}

// tells reports whether there is a number among the samples: a quantile of nothing is
// NaN.
func (r result) tells() bool {
	for _, series := range r.Result {
		for _, sample := range append(series.Values, series.Value) {
			if text, ok := sample[1].(string); ok && text != "NaN" {
				return true
			}
		}
	}
	return false
}

var errNothing = errors.New("it returns nothing")

// ask evaluates a query, now or over all the time since the start.
func (p *prometheus) ask(query string, instant bool) error {
	v := url.Values{"query": {query}}
	path := "query"
	if !instant {
		path = "query_range"
		v.Set("start", fmt.Sprint(p.began.Unix()))
		v.Set("end", fmt.Sprint(time.Now().Unix()))
		v.Set("step", "1")
	}
	var r result
	if err := p.get(path, v, &r); err != nil {
		return err
	}
	if !r.tells() {
		return errNothing
	}
	return nil
}

// await waits until a query returns something.
func (p *prometheus) await(t *testing.T, query string) {
	t.Helper()
	if err := testbed.Await(t.Context(), patience, func() error { return p.ask(query, true) }); err != nil {
		t.Errorf("%s: %v", query, err)
	}
}

// ruleStates are Prometheus' states of its rules.
type ruleStates struct {
	Groups []struct {
		Rules []struct {
			Name, State, Health, LastError string
			Alerts                         []struct{ Annotations map[string]string }
		}
	}
}

func (p *prometheus) rules(t *testing.T) ruleStates {
	t.Helper()
	var r ruleStates
	if err := p.get("rules", nil, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Groups) != 1 {
		t.Fatalf("%d groups of rules", len(r.Groups))
	}
	return r
}

// alert returns inactive, pending or firing.
func (p *prometheus) alert(t *testing.T, name string) string {
	t.Helper()
	for _, r := range p.rules(t).Groups[0].Rules {
		if r.Name == name {
			return r.State
		}
	}
	t.Fatalf("there is no alert %s", name)
	return ""
}

func (p *prometheus) summary(t *testing.T, name string) string {
	t.Helper()
	for _, r := range p.rules(t).Groups[0].Rules {
		if r.Name == name && len(r.Alerts) > 0 {
			return r.Alerts[0].Annotations["summary"]
		}
	}
	return ""
}

// evaluates checks that no rule is beyond Prometheus, over real metrics.
func (p *prometheus) evaluates(t *testing.T) {
	for _, r := range p.rules(t).Groups[0].Rules {
		if r.Health != "ok" || r.LastError != "" {
			t.Errorf("%s: %s %s", r.Name, r.Health, r.LastError)
		}
	}
}

// chosenValues are values that a user might choose, and those that Grafana puts in for
// its own.
var chosenValues = strings.NewReplacer("${within}", "1", "$within", "1", "$target", "0.99", "$job", "kube-ipvs", "$node", ".*", "$namespace", ".*", "$service", ".*",
	"$__rate_interval", "5s", "$__range", "1m")

// shows checks that every panel of a dashboard has something to show, and
// every variable something to choose from.
func (p *prometheus) shows(t *testing.T, d dashboard) {
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			p.offers(t, v)
		}
	}
	n := 0
	for _, panel := range d.Panels {
		for _, q := range panel.Targets {
			n++
			expr := chosenValues.Replace(q.Expr)
			if strings.HasPrefix(panel.Title, "Open connections:") && strings.Contains(expr, "kube_ipvs_endpoint_active_connections") {
				continue // here no connection of two endpoints stays open; TestBalance has values for these
			}
			if strings.Contains(expr, "$") {
				t.Errorf("%q: a variable is left in %s", panel.Title, expr)
			}
			err := testbed.Await(t.Context(), patience, func() error {
				err := p.ask(expr, q.Instant)
				if err != nil && !errors.Is(err, errNothing) {
					t.Fatalf("%q: %s: %v", panel.Title, expr, err)
				}
				return err
			})
			if err != nil {
				t.Errorf("%q: %s: %v", panel.Title, expr, err)
			}
		}
	}
	t.Logf("%d queries in %d panels", n, len(d.Panels))
}

var labelValues = regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)

func (p *prometheus) offers(t *testing.T, v variable) {
	m := labelValues.FindStringSubmatch(chosenValues.Replace(v.asks()))
	if m == nil {
		t.Errorf("variable %s: %s", v.Name, v.asks())
		return
	}
	var values []string
	if err := p.get("label/"+m[2]+"/values", url.Values{"match[]": {m[1]}}, &values); err != nil || len(values) == 0 {
		t.Errorf("variable %s offers %q: %v", v.Name, values, err)
	}
}
