package monitoring

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// Each alert fires when it should, with the text that it should have, and does
// not a little earlier, nor where something alike is no reason.
func TestAlerts(t *testing.T) {
	needTools(t)
	dir := t.TempDir()
	all := rules(t, filepath.Join(dir, "rules.yaml"))
	if err := promtool(dir, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"); err != nil {
		t.Fatal(err)
	}
	told := slices.Concat(stories, crowds)
	covered := map[string]bool{}
	for _, s := range told {
		for _, alert := range s.fires {
			covered[alert.name] = true
		}
	}
	for _, r := range all {
		if r.Alert != "" && !covered[r.Alert] {
			t.Errorf("nothing tells whether %s fires", r.Alert)
		}
	}
	tell(t, dir, all, told)
}

// Nodes of one cause ring once if the alert waits for less than a round, too.
func TestAlertsOfShortWait(t *testing.T) {
	needTools(t)
	for wait, s := range map[string]story{
		"30s": {before: "4m", after: "5m"},
		"90s": {before: "5m", after: "6m"},
	} {
		s.what, s.unscraped = "six nodes do not answer, by rounds of a minute and a wait of "+wait, true
		s.series = append(each(6, "up%s 1x3 0x60", ""), from(7, 300, "up%s 1x64", "")...)
		s.fires = []firing{{"KubeIPVSDown", "job=kube-ipvs nodes=several", "kube-ipvs does not answer Prometheus on 6 nodes.", threeNodes}}
		dir := t.TempDir()
		tell(t, dir, rules(t, filepath.Join(dir, "rules.yaml"), "--set", "prometheusRule.alerts.KubeIPVSDown.for="+wait), []story{s})
	}
}

// Prometheus evaluates what the nodes have once a round: the histograms of 5,000 nodes are dear.
func TestAlertsEvaluateOnce(t *testing.T) {
	needTools(t)
	all := rules(t, filepath.Join(t.TempDir(), "rules.yaml"))
	seen := map[string]bool{}
	for _, r := range all {
		if strings.Contains(r.Expr, ":]") {
			t.Errorf("%s%s evaluates an expression again for each step of a subquery: %s", r.Record, r.Alert, r.Expr)
		}
		of := r.Labels["alert"]
		if r.Record == "" || seen[of] {
			continue
		}
		seen[of] = true
		same := func(other rule) bool {
			return strings.Contains(strings.Join(strings.Fields(other.Expr), " "), strings.Join(strings.Fields(r.Expr), " "))
		}
		if again := slices.DeleteFunc(slices.Clone(all), func(other rule) bool { return !same(other) }); len(again) != 1 {
			t.Errorf("%d rules evaluate what the nodes of %s have: %+v", len(again), of, again)
		}
	}
	if len(seen) == 0 {
		t.Error("nothing is recorded")
	}
}

// tell shows the stories to the rules of rules.yaml in a folder, by promtool.
func tell(t *testing.T, dir string, all []rule, told []story) {
	t.Helper()
	var tests []map[string]any
	for _, s := range told {
		tests = append(tests, s.test(t, all))
	}
	write(t, filepath.Join(dir, "tests.yaml"), map[string]any{"rule_files": []string{"rules.yaml"}, "evaluation_interval": "1m", "tests": tests})
	if err := promtool(dir, "test", "rules", "tests.yaml"); err != nil {
		t.Error(err)
	}
}

// test returns the story in promtool's words: how many alerts of each name fire at each
// time, and how they read.
func (s story) test(t *testing.T, all []rule) map[string]any {
	t.Helper()
	var input []map[string]string
	seen := s.series
	if !s.unscraped {
		seen = append(seen, `up{job="kube-ipvs", instance="n1"} 1x200`)
	}
	for _, line := range seen {
		series, values, _ := strings.Cut(line, "} ")
		input = append(input, map[string]string{"series": series + "}", "values": values})
	}
	// ALERTS tells of all alerts, so that one too many is found, too.
	const firing = `count by (alertname) (ALERTS{alertstate="firing"})`
	expect := func(at string, counts map[string]int) map[string]any {
		samples := []map[string]any{}
		for name, n := range counts {
			samples = append(samples, map[string]any{"labels": `{alertname="` + name + `"}`, "value": n})
		}
		return map[string]any{"expr": firing, "eval_time": at, "exp_samples": samples}
	}
	counts, read := map[string]int{}, map[string][]any{}
	for _, f := range s.fires {
		counts[f.name]++
		read[f.name] = append(read[f.name], f.reads(t, all))
	}
	var texts []any
	for name, alerts := range read {
		texts = append(texts, map[string]any{"eval_time": s.after, "alertname": name, "exp_alerts": alerts})
	}
	return map[string]any{"name": s.what, "interval": "1m", "input_series": input,
		"promql_expr_test": []any{expect(s.before, nil), expect(s.after, counts)}, "alert_rule_test": texts}
}

func (f firing) reads(t *testing.T, all []rule) map[string]any {
	t.Helper()
	i := slices.IndexFunc(all, func(r rule) bool { return r.Alert == f.name })
	if i < 0 {
		t.Fatalf("there is no alert %s", f.name)
	}
	r := all[i]
	labels := map[string]string{"severity": r.Labels["severity"]}
	for _, pair := range strings.Fields(f.labels) {
		key, value, _ := strings.Cut(pair, "=")
		labels[key] = value
	}
	description, _, _ := strings.Cut(r.Annotations["description"], "{{ if not $labels.instance }}")
	if nodes, more := strings.CutPrefix(f.description, "... "); more {
		description += " " + nodes
	} else if f.description != "" {
		description = f.description
	}
	return map[string]any{"exp_labels": labels, "exp_annotations": map[string]string{"summary": f.summary, "description": description}}
}

// Values reach the rules.
func TestAlertValues(t *testing.T) {
	needTools(t)
	file := filepath.Join(t.TempDir(), "rules.yaml")
	got := rules(t, file, "--set", strings.Join([]string{
		"prometheusRule.job=proxy", "prometheusRule.alerts.KubeIPVSDown.enabled=false", "prometheusRule.alertLabels.team=net", "prometheusRule.runbookURL=https://example.org/alerts",
		"prometheusRule.alerts.KubeIPVSConntrackFull.threshold=0.5", "prometheusRule.alerts.KubeIPVSConntrackFull.for=1h", "prometheusRule.alerts.KubeIPVSConntrackFull.severity=page",
		"prometheusRule.alerts.KubeIPVSProgrammingSlow.window=42m", "prometheusRule.extraRules[0].record=a:b", "prometheusRule.extraRules[0].expr=sum(up)",
		"prometheusRule.nodesOneByOne=2", "prometheusRule.manyNodes=0.5", "prometheusRule.clusterLabel=k8s",
	}, ","))
	find := func(name string) rule {
		i := slices.IndexFunc(got, func(r rule) bool { return r.Alert == name })
		if i < 0 {
			return rule{}
		}
		return got[i]
	}
	nodes := func(alert string) string {
		i := slices.IndexFunc(got, func(r rule) bool {
			return r.Record == "instance:kube_ipvs_alert:value" && r.Labels["alert"] == alert
		})
		if i < 0 {
			return ""
		}
		return got[i].Expr
	}
	if find("KubeIPVSDown").Alert != "" {
		t.Error("an alert that is off is there")
	}
	full := find("KubeIPVSConntrackFull")
	if !strings.HasSuffix(nodes(full.Alert), "> 0.5") || !strings.Contains(full.Expr, "}) > 2\n") || !strings.Contains(full.Expr, "unless on (job, k8s)") || full.For != "1h" || full.Labels["severity"] != "page" || full.Labels["team"] != "net" ||
		full.Annotations["runbook_url"] != "https://example.org/alerts#kubeipvsconntrackfull" {
		t.Errorf("%+v", full)
	}
	many := slices.IndexFunc(got, func(r rule) bool { return r.Alert == full.Alert && r.Labels["nodes"] == "many" })
	if many < 0 || !strings.HasSuffix(got[many].Expr, `0.5 * count by (job, k8s) (up{job="proxy"})`) || got[many].Labels["severity"] != "page" || got[many].Labels["team"] != "net" {
		t.Errorf("the alert of many nodes is %d of %+v", many, got)
	}
	if slow := nodes("KubeIPVSProgrammingSlow"); !strings.Contains(slow, "[42m]") {
		t.Error(slow)
	}
	for _, r := range got {
		if r.Alert != "" && !strings.Contains(r.Expr, `job="proxy"`) || strings.ContainsAny(r.Expr, "<>") && regexp.MustCompile(`<[a-z]+>`).MatchString(r.Expr) {
			t.Errorf("%+v", r)
		}
	}
	if last := got[len(got)-1]; last.Expr != "sum(up)" {
		t.Errorf("the last rule is %+v", last)
	}
	if err := promtool(filepath.Dir(file), "check", "rules", "rules.yaml"); err != nil {
		t.Error(err)
	}
}

// An alert links to the page of its version at the chart's home, and to none where there is none.
func TestRunbookAddress(t *testing.T) {
	needTools(t)
	home := filepath.Join(t.TempDir(), "kube-ipvs")
	if err := os.CopyFS(home, os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	var c struct{ Version string }
	text, err := os.ReadFile(filepath.Join(home, "Chart.yaml"))
	if err == nil {
		err = yaml.Unmarshal(text, &c)
	}
	if err != nil || c.Version == "" {
		t.Fatal(c, err)
	}
	if err := os.WriteFile(filepath.Join(home, "Chart.yaml"), append(text, "\nhome: https://example.org/kube-ipvs/\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	const own = "https://example.org/runbooks"
	for _, c := range []struct{ chart, set, want string }{
		{home, "", "https://example.org/kube-ipvs/blob/v" + c.Version + "/docs/alerts.md#kubeipvsdown"},
		{home, own, own + "#kubeipvsdown"},
		{chart, "", ""},
		{chart, "docs/alerts.md", ""}, // the default of earlier versions, which helm upgrade --reuse-values keeps
	} {
		for _, r := range rulesOf(t, c.chart, filepath.Join(t.TempDir(), "rules.yaml"), "--set", "prometheusRule.runbookURL="+c.set) {
			if r.Alert == "KubeIPVSDown" && r.Annotations["runbook_url"] != c.want {
				t.Errorf("runbookURL %q: %q leads to %q, want %q", c.set, r.Alert, r.Annotations["runbook_url"], c.want)
			}
		}
	}
}

// The chart's monitors give the labels that alerts and dashboards ask for.
func TestMonitors(t *testing.T) {
	needTools(t)
	for name, list := range map[string]string{"podMonitor": "podMetricsEndpoints", "serviceMonitor": "endpoints"} {
		objects := render(t, "monitors.yaml", "--set", "metrics.bindAddress=0.0.0.0,nameOverride=proxy,metrics."+name+".enabled=true")
		monitor := objects[len(objects)-1]
		text, err := yaml.Marshal(monitor["spec"])
		if err != nil {
			t.Fatal(err)
		}
		var spec struct {
			JobLabel string
			Selector struct{ MatchLabels map[string]string }
		}
		if err := yaml.Unmarshal(text, &spec); err != nil {
			t.Fatal(err)
		}
		endpoint := monitor["spec"].(map[string]any)[list].([]any)[0].(map[string]any)
		if endpoint["honorLabels"] != true || !strings.Contains(string(text), "targetLabel: instance") {
			t.Errorf("%s: %s", name, text)
		}
		job := spec.Selector.MatchLabels[spec.JobLabel]
		for _, r := range rules(t, filepath.Join(t.TempDir(), "rules.yaml"), "--set", "nameOverride=proxy") {
			if !strings.Contains(r.Expr, `job="`+job+`"`) {
				t.Errorf("%s gives the job %q, %s asks for %s", name, job, r.Alert, r.Expr)
			}
		}
	}
}

// settings are the values of an alert.
type settings struct {
	For, Severity, Window string
	Threshold             *float64
}

// words are the texts that its page must have.
func (s settings) words() []string {
	words := []string{strings.ToUpper(s.Severity[:1]) + s.Severity[1:], strings.TrimSuffix(s.For, "m") + " minutes"}
	if s.For == "0m" {
		words[1] = "at once"
	}
	if s.Threshold != nil {
		words = append(words, fmt.Sprintf("`threshold` (%v", *s.Threshold))
	}
	if s.Window != "" {
		words = append(words, fmt.Sprintf("`window` (%s)", s.Window))
	}
	return words
}

// Each alert leads to its remedy, and its page has its values.
func TestRunbooks(t *testing.T) {
	values, err := os.ReadFile(chart + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		PrometheusRule struct{ Alerts map[string]settings }
	}
	if err := yaml.Unmarshal(values, &v); err != nil {
		t.Fatal(err)
	}
	defaults := v.PrometheusRule.Alerts
	text, err := os.ReadFile("../../../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(chart + "/files/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var f struct{ Alerts []rule }
	if err := yaml.Unmarshal(source, &f); err != nil || len(f.Alerts) == 0 {
		t.Fatal(len(f.Alerts), err)
	}
	for _, r := range f.Alerts {
		_, section, found := strings.Cut(string(text), "\n## "+r.Alert+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		for _, part := range []string{"**Meaning.**", "**Look.**", "**Do.**"} {
			if !found || !strings.Contains(section, part) {
				t.Errorf("docs/alerts.md: %s has no %s", r.Alert, part)
			}
		}
		section = strings.Join(strings.Fields(section), " ")
		for _, part := range defaults[r.Alert].words() {
			if !strings.Contains(section, part) {
				t.Errorf("docs/alerts.md: %s does not say %q, as values.yaml does", r.Alert, part)
			}
		}
	}
	if len(defaults) != len(f.Alerts) {
		t.Errorf("values.yaml has %d alerts, there are %d", len(defaults), len(f.Alerts))
	}
	if n := strings.Count(string(text), "\n## KubeIPVS"); n != len(f.Alerts) {
		t.Errorf("docs/alerts.md tells of %d alerts, there are %d", n, len(f.Alerts))
	}
}
