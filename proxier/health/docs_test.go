package health

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/relay"
	"kube-ipvs/proxier/report"
)

// Every metric of ours and of kube-proxy's is described for those who read
// dashboards, by name and type.
func TestMetricsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	h, _ := newHealth(false)
	m := NewMetrics(h, "test")
	for _, c := range []prometheus.Collector{
		NewTablesCollector(&fakeTables{tables: []Table{{}, {Set: "X"}}}, quiet()),
		NewProblemsCollector(func() [][]model.Problem { return [][]model.Problem{{{Object: "Service shop/web"}}} }), NewRefusedCollector(&fakeRefused{rows: []Refused{{Service: "web"}}}, 0, quiet()),
		relay.New(relay.Config{}),
	} {
		if err := m.Register(c); err != nil {
			t.Fatal(err)
		}
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

func lineWith(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, part) {
			return line
		}
	}
	return ""
}
