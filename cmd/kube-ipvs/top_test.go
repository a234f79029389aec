package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
	"kube-ipvs/proxier/traffic"
)

func rates() []traffic.Rate {
	return []traffic.Rate{
		{Key: model.Key{Namespace: "default", Name: "image"}, Connections: 5000, New: 12.5},
		{Key: model.Key{Namespace: "default", Name: "idle"}, Connections: 3, Whole: true},
		{Key: model.Key{Namespace: "shop", Name: "db"}, Connections: 70, New: 0.5, Whole: true, Active: 7, Inactive: 2,
			PacketsIn: 1500, PacketsOut: 999, BytesIn: 2.5e6, BytesOut: 12345},
		{Key: model.Key{Name: "(unpublished)"}, Connections: 3},
	}
}

func TestTopText(t *testing.T) {
	open := map[model.Key]uint64{{Namespace: "default", Name: "image"}: 2500}
	table := newTopTable(rates(), open, &topOptions{sort: "new", rows: 3}, time.Time{})
	var out bytes.Buffer
	if err := table.write(&out, "text"); err != nil {
		t.Fatal(err)
	}
	want := `  new/s  active  inactive  packets in/s  out/s  bytes in/s  out/s  connections  service
     12    2500         -             -      -           -      -         5000  default/image
    0.5       7         2          1.5k    999        2.5M    12k           70  shop/db
      0       0         -             -      -           -      -            3  (unpublished)
and 1 more
-: not counted in full. At a mapped address conntrack carries connections past IPVS, which counts only new ones.
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// ends are the rates of two endpoints of a Service.
func ends() []traffic.Rate {
	web := model.Key{Namespace: "default", Name: "web"}
	return []traffic.Rate{
		{Key: web, Endpoint: "10.244.0.11:8080", Balance: traffic.Balance{Weight: 2, Limit: 100, Standings: [6]uint32{4: 1}}, Connections: 5000, New: 12, Whole: true, Active: 90, Inactive: 10},
		{Key: web, Endpoint: "10.244.0.12:8080", Balance: traffic.Balance{Weight: 0, Standings: [6]uint32{5: 1}}, Connections: 70, Whole: true, Active: 7},
	}
}

// With a Service top shows its endpoints, with weights and limits.
func TestTopOfService(t *testing.T) {
	var o topOptions
	if err := o.of([]string{"default/web"}); err != nil {
		t.Fatal(err)
	}
	o.sort = "new"
	var out bytes.Buffer
	if err := newTopTable(ends(), nil, &o, time.Time{}).write(&out, "text"); err != nil {
		t.Fatal(err)
	}
	want := `  new/s  active  inactive  packets in/s  out/s  bytes in/s  out/s  connections  endpoint of default/web
     12      90        10             0      0           0      0         5000  10.244.0.11:8080  weight 2, at its limit of 100
      0       7         0             0      0           0      0           70  10.244.0.12:8080  weight 0, no new ones
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out.Reset()
	if err := newTopTable(nil, nil, &o, time.Time{}).write(&out, "text"); err != nil || !strings.HasSuffix(out.String(), "Service default/web has no endpoint here\n") {
		t.Errorf("%v: %s", err, out.String())
	}
	for _, args := range [][]string{{"web"}, {"/web"}, {"default/"}, {"default/web:http"}, {"default/web", "default/api"}} {
		if err := o.of(args); err == nil {
			t.Errorf("%q is taken for a Service", args)
		}
	}
}

// A Service that is not served is a failure. One that is served may have no virtual server.
func TestTopOfNoService(t *testing.T) {
	entries := func(_ context.Context, note func(state.ID, state.SpecRef)) error {
		at := netip.MustParseAddrPort("10.96.0.10:80")
		note(state.EntryID(state.SetAll, state.TCP, at), state.Intern(state.Spec{Text: "default/web:http"}))
		note(state.EntryID(state.SetCluster, state.TCP, at), state.None)
		return nil
	}
	const meant = " (is default/web meant?)"
	for key, want := range map[model.Key]string{
		{Namespace: "default", Name: "web"}: "",
		{Namespace: "default", Name: "wep"}: "kube-ipvs serves no Service default/wep here" + meant,
		{Namespace: "shop", Name: "web"}:    "kube-ipvs serves no Service shop/web here" + meant,
		{Namespace: "shop", Name: "cart"}:   "kube-ipvs serves no Service shop/cart here",
	} {
		r := &topReader{service: key, entries: entries}
		switch err := r.name(t.Context(), nil); {
		case want == "" && err != nil, want != "" && (err == nil || err.Error() != want || exitCode(err) != exitFailed):
			t.Errorf("%s: %v, want %q", key, err, want)
		case want == "" && r.name(t.Context(), nil) != nil:
			t.Errorf("%s is served, and then not", key)
		}
	}
}

// The documentation shows what is printed.
func TestTopIsDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	all := rates()
	all[0].Name = "web"
	table := newTopTable([]traffic.Rate{all[0], all[2]}, map[model.Key]uint64{{Namespace: "default", Name: "web"}: 2500}, &topOptions{sort: "new"}, time.Time{})
	var out bytes.Buffer
	if err := table.write(&out, "text"); err != nil {
		t.Fatal(err)
	}
	if text := indent(out.String()); !strings.Contains(string(docs), text) {
		t.Errorf("docs/explain.md does not have\n%s", text)
	}
	b, err := json.Marshal([]*topTable{table, newTopTable(ends(), nil, &topOptions{sort: "new"}, time.Time{})})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range regexp.MustCompile(`"([A-Za-z]+)":`).FindAllStringSubmatch(string(b), -1) {
		if !strings.Contains(string(docs), "`"+field[1]) {
			t.Errorf("docs/explain.md does not know the field %s", field[1])
		}
	}
}

// indent makes text a block of code.
func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ") + "\n"
}

func TestTopOrder(t *testing.T) {
	for by, want := range map[string]string{
		"new": "default/image shop/db (unpublished) default/idle", "active": "shop/db default/image (unpublished) default/idle",
		"bytes": "shop/db default/image (unpublished) default/idle", "total": "default/image shop/db (unpublished) default/idle",
	} {
		var got []string
		for _, r := range newTopTable(rates(), nil, &topOptions{sort: by}, time.Time{}).Services {
			got = append(got, r.Service)
			if (r.Active == nil) != (r.Inactive == nil) {
				t.Errorf("%s has open connections without a count", r.Service)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("by %s: %s, want %s", by, got, want)
		}
	}
}

// counting gives readings in which connections grow by ten, until they fail.
type counting struct{ reads, last int }

func (c *counting) Rows(context.Context) ([]traffic.Row, error) {
	if c.reads++; c.reads > c.last {
		return nil, errors.New("the kernel is gone")
	}
	return []traffic.Row{{
		ServedPort: report.ServedPort{Key: model.Key{Namespace: "default", Name: "web"}, Whole: true}, Of: state.ID{Bits: 1},
		Counted: kernel.Counted{Stats: ipvs.Stats{Connections: uint64(10 * c.reads)}, Active: 4},
	}}, nil
}

func (c *counting) Open() (map[model.Key]uint64, error) { return nil, nil }

// It prints as many tables as were asked for, and not one before there are two
// readings.
func TestTopCounts(t *testing.T) {
	o := topOptions{interval: 10 * time.Millisecond, count: 2, format: "json", sort: "new"}
	var out bytes.Buffer
	reader := &counting{last: 3}
	if err := o.run(t.Context(), reader, &out, false); err != nil || reader.reads != 3 {
		t.Errorf("%d readings, %v", reader.reads, err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d tables:\n%s", len(lines), out.String())
	}
	var got topTable
	if err := json.Unmarshal([]byte(lines[1]), &got); err != nil {
		t.Fatal(err)
	}
	if r := got.Services[0]; got.Schema != "kube-ipvs/top/v1" || r.Service != "default/web" || r.Connections != 30 || r.New <= 0 || r.Active == nil || *r.Active != 4 {
		t.Errorf("%s", lines[1])
	}
	if err := o.run(t.Context(), reader, &out, false); err == nil || !strings.Contains(err.Error(), "the kernel is gone") {
		t.Errorf("a failed reading is not told: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.run(ctx, &counting{last: 9}, &out, false); err != nil {
		t.Errorf("interrupted: %v", err)
	}
}
