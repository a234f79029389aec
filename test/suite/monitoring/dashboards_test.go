package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dashboard is the part of Grafana's JSON model that a dashboard must have.
type dashboard struct {
	UID           string   `json:"uid"`
	Title         string   `json:"title"`
	Description   string   `json:"description"`
	Tags          []string `json:"tags"`
	SchemaVersion int      `json:"schemaVersion"`
	Panels        []panel  `json:"panels"`
	Templating    struct {
		List []variable `json:"list"`
	} `json:"templating"`
}

type variable struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Query      any            `json:"query"`
	Datasource datasource     `json:"datasource"`
	Current    map[string]any `json:"current"`
	AllValue   string         `json:"allValue"`
}

// asks returns the question of a variable that asks the data source.
func (v variable) asks() string {
	q, _ := v.Query.(map[string]any)
	text, _ := q["query"].(string)
	return text
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type panel struct {
	ID          int        `json:"id"`
	Type        string     `json:"type"`
	Title       string     `json:"title"`
	Description string     `json:"description"`
	Datasource  datasource `json:"datasource"`
	GridPos     struct {
		X, Y, W, H int
	} `json:"gridPos"`
	Targets []target `json:"targets"`
}

type target struct {
	RefID        string     `json:"refId"`
	Expr         string     `json:"expr"`
	LegendFormat string     `json:"legendFormat"`
	Instant      bool       `json:"instant"`
	Datasource   datasource `json:"datasource"`
}

// dashboards reads those of the chart, by name.
func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	files, err := filepath.Glob(chart + "/files/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d dashboards, %v", len(files), err)
	}
	all := map[string]dashboard{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".json")] = d
	}
	return all
}

var chosen = datasource{"prometheus", "${datasource}"}

// Faults that Grafana would take without a word and show wrongly, or not at all.
func TestDashboards(t *testing.T) {
	uids := map[string]bool{}
	for name, d := range dashboards(t) {
		t.Run(name, func(t *testing.T) {
			if d.Title == "" || d.Description == "" || uids[d.UID] || d.UID != "kube-ipvs-"+name || !slices.Contains(d.Tags, "kube-ipvs") {
				t.Errorf("uid %q, title %q, description %q, tags %q", d.UID, d.Title, d.Description, d.Tags)
			}
			uids[d.UID] = true
			if d.SchemaVersion < 39 { // Grafana 10.4
				t.Errorf("schema version %d is old", d.SchemaVersion)
			}
			checkVariables(t, d)
			checkLayout(t, d)
			for _, p := range d.Panels {
				checkPanel(t, d, p)
			}
		})
	}
}

func checkVariables(t *testing.T, d dashboard) {
	names := map[string]bool{}
	for i, v := range d.Templating.List {
		names[v.Name] = true
		if v.Name == "datasource" && (i != 0 || v.Type != "datasource" || v.Query != "prometheus") {
			t.Errorf("the data source must come first, for others ask it: %+v", v)
		}
		if v.Type == "query" && (v.Datasource != chosen || !strings.HasPrefix(v.asks(), "label_values(")) {
			t.Errorf("variable %s asks %+v for %q", v.Name, v.Datasource, v.asks())
		}
	}
	for _, name := range []string{"datasource", "job", "node"} {
		if !names[name] {
			t.Errorf("there is no variable %s", name)
		}
	}
}

// checkLayout finds panels that hide each other or stand outside the grid.
func checkLayout(t *testing.T, d dashboard) {
	ids, taken := map[int]string{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if other, had := ids[p.ID]; had {
			t.Errorf("%q and %q have one id", p.Title, other)
		}
		ids[p.ID] = p.Title
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("%q stands at %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%q stands on %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

var named = regexp.MustCompile(`\$\{?([a-z]\w*)`)

func checkPanel(t *testing.T, d dashboard, p panel) {
	if p.Type == "row" {
		return
	}
	if p.Title == "" || p.Description == "" || p.Datasource != chosen || len(p.Targets) == 0 {
		t.Errorf("panel %d: %+v", p.ID, p)
	}
	refs := map[string]bool{}
	for _, q := range p.Targets {
		if refs[q.RefID] || q.Datasource != chosen {
			t.Errorf("%q: query %s asks %+v, or is there twice", p.Title, q.RefID, q.Datasource)
		}
		refs[q.RefID] = true
		if p.Type == "timeseries" && q.LegendFormat == "" {
			t.Errorf("%q: query %s has no legend", p.Title, q.RefID)
		}
		if p.Type == "timeseries" && strings.Contains(q.LegendFormat, "{{instance}}") && !strings.HasPrefix(q.Expr, "topk(") {
			t.Errorf("%q has a line for each of thousands of nodes: %s", p.Title, q.Expr)
		}
		for _, m := range named.FindAllStringSubmatch(q.Expr, -1) {
			if !slices.ContainsFunc(d.Templating.List, func(v variable) bool { return v.Name == m[1] }) {
				t.Errorf("%q asks for the variable %s, which is not there", p.Title, m[1])
			}
		}
		if strings.Contains(q.Expr, "kube") && !strings.Contains(q.Expr, `instance=~"$node"`) {
			t.Errorf("%q does not heed the choice of nodes: %s", p.Title, q.Expr)
		}
	}
}

// The installed dashboards are the tested ones, and each can be left out.
func TestConfigMaps(t *testing.T) {
	needTools(t)
	all := dashboards(t)
	objects := render(t, "dashboards.yaml", "--set", "dashboards.folder=Network,dashboards.include.comparison=false,dashboards.labels.team=net,dashboards.annotations.a=b")
	if len(objects) != len(all)-1 {
		t.Errorf("%d ConfigMaps for %d dashboards, of which one is off", len(objects), len(all))
	}
	for _, o := range objects {
		meta := o["metadata"].(map[string]any)
		name := strings.TrimPrefix(meta["name"].(string), "kube-ipvs-dashboard-")
		if got := fmt.Sprint(meta["annotations"]); got != "map[a:b grafana_folder:Network]" {
			t.Errorf("%s has the annotations %s", name, got)
		}
		if labels := meta["labels"].(map[string]any); labels["grafana_dashboard"] != "1" || labels["team"] != "net" {
			t.Errorf("%s has the labels %v", name, labels)
		}
		text, _ := o["data"].(map[string]any)["kube-ipvs-"+name+".json"].(string)
		want, err := os.ReadFile(filepath.Join(chart, "files/dashboards", name+".json"))
		if err != nil || text != string(want) {
			t.Errorf("%s is not the file's text, %v", name, err)
		}
	}
}
