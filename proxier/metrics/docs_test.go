package metrics

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/relay"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/traffic"
)

// docs/metrics.md describes each metric of kube-ipvs and of kube-proxy, by name and type.
func TestMetricsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	m, _, _ := newMetrics(t, "test")
	n := newNode()
	if err := m.Register(
		traffic.NewTablesCollector(n, n.config, n, 0, quiet()),
		NewProblems(func() [][]model.Problem { return [][]model.Problem{{{Object: "Service shop/web"}}} }),
		relay.New(relay.Config{}),
	); err != nil {
		t.Fatal(err)
	}
	m.Observe(&report.Round{Number: 1, Queued: time.Now(), Triggers: []time.Time{time.Now()}, Ops: map[report.Write]int{{Verb: "add", Kind: "entry"}: 1}, Objects: map[string]int{"entry": 1}})
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		name := f.GetName()
		if !strings.HasPrefix(name, "kube") {
			continue
		}
		row := "| `" + name + "` | "
		kind := strings.ToLower(dto.MetricType_name[int32(f.GetType())])
		if line := lineWith(string(text), row); line == "" {
			t.Errorf("docs/metrics.md does not name %s (%s): %s", name, kind, f.GetHelp())
		} else if !strings.Contains(line, "| "+kind+" |") {
			t.Errorf("docs/metrics.md: %s is a %s: %s", name, kind, line)
		}
	}
}

// grep finds the whole name of each metric where the metric is decided.
func TestNamesAreWhole(t *testing.T) {
	m, _, _ := newMetrics(t, "test")
	n := newNode()
	if err := m.Register(
		traffic.NewCollector(&traffic.Reader{Counters: n, Names: n, Endpoints: true}, 0, quiet()), traffic.NewTablesCollector(n, n.config, n, 0, quiet()),
		NewProblems(func() [][]model.Problem { return nil }), relay.New(relay.Config{}),
	); err != nil {
		t.Fatal(err)
	}
	m.Observe(fullRound(time.Now()))
	var source strings.Builder
	for _, pkg := range []string{"health", "metrics", "relay", "traffic"} {
		files, err := filepath.Glob("../" + pkg + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pkg, len(files), err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(name, "_test.go") {
				source.Write(text)
			}
		}
	}
	for name := range gather(t, m) {
		if strings.HasPrefix(name, "kube") && strings.Count(source.String(), strconv.Quote(name)) != 1 {
			t.Errorf("%s is written in %d places, want 1", name, strings.Count(source.String(), strconv.Quote(name)))
		}
	}
}

func lineWith(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, part) {
			return line
		}
	}
	return ""
}
