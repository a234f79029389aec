package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
	"kube-ipvs/proxier/status"
	"kube-ipvs/proxier/traffic"
)

// topTable is one table of top. Its JSON form is documented in docs/explain.md.
type topTable struct {
	Schema   string   `json:"schema"` // kube-ipvs/top/v1
	Time     string   `json:"time"`
	Interval float64  `json:"intervalSeconds"` // of --interval
	Services []topRow `json:"services"`
	More     int      `json:"more"` // Services or endpoints that are not shown

	of model.Key // the Service whose endpoints are the rows; zero: they are Services
}

// topRow is a Service. IPVS does not count a null value in full.
type topRow struct {
	Service     string       `json:"service"`
	Connections uint64       `json:"connectionsTotal"`
	New         float64      `json:"newPerSecond"`
	Active      *uint64      `json:"active"`
	Inactive    *uint64      `json:"inactive"`
	PacketsIn   *float64     `json:"packetsInPerSecond"`
	PacketsOut  *float64     `json:"packetsOutPerSecond"`
	BytesIn     *float64     `json:"bytesInPerSecond"`
	BytesOut    *float64     `json:"bytesOutPerSecond"`
	Endpoint    *topEndpoint `json:"endpoint,omitempty"` // of the Service, with an argument
}

// topEndpoint is an endpoint in its balance.
type topEndpoint struct {
	Address  string         `json:"address"`
	Weight   uint32         `json:"weight"`             // the highest of its frontends
	Limit    uint64         `json:"limit,omitempty"`    // of all its frontends
	Standing state.Standing `json:"standing,omitempty"` // as in status.Endpoint
}

// orders compare rows by the keys of --sort, the larger one first.
var orders = map[string]func(r *traffic.Rate) float64{
	"new":     func(r *traffic.Rate) float64 { return r.New },
	"active":  func(r *traffic.Rate) float64 { return float64(r.Active) },
	"packets": func(r *traffic.Rate) float64 { return r.PacketsIn + r.PacketsOut },
	"bytes":   func(r *traffic.Rate) float64 { return r.BytesIn + r.BytesOut },
	"total":   func(r *traffic.Rate) float64 { return float64(r.Connections) },
}

func sortNames() []string { return slices.Sorted(maps.Keys(orders)) }

// newTopTable sorts the rates and keeps the first ones. Between equal rows new connections
// decide, then the total, then the name.
//
// open has the connections in conntrack, for Services whose packets IPVS does not all see.
func newTopTable(rates []traffic.Rate, open map[model.Key]uint64, o *topOptions, now time.Time) *topTable {
	by := orders[o.sort]
	for i := range rates {
		if r := &rates[i]; !r.Whole {
			r.Active = open[r.Key]
		}
	}
	slices.SortFunc(rates, func(a, b traffic.Rate) int {
		return cmp.Or(cmp.Compare(by(&b), by(&a)), cmp.Compare(b.New, a.New), cmp.Compare(b.Connections, a.Connections),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Endpoint, b.Endpoint))
	})
	t := &topTable{Schema: "kube-ipvs/top/v1", Time: now.UTC().Format(time.RFC3339), Interval: o.interval.Seconds(), Services: []topRow{}, of: o.service}
	if o.rows > 0 && len(rates) > o.rows {
		t.More = len(rates) - o.rows
		rates = rates[:o.rows]
	}
	for i := range rates {
		row := newTopRow(&rates[i])
		if open == nil && !rates[i].Whole {
			row.Active = nil
		}
		t.Services = append(t.Services, row)
	}
	return t
}

func newTopRow(r *traffic.Rate) topRow {
	row := topRow{Service: strings.TrimPrefix(r.Key.String(), "/"), Connections: r.Connections, New: r.New, Active: &r.Active}
	if r.Whole {
		row.Inactive = &r.Inactive
		row.PacketsIn, row.PacketsOut, row.BytesIn, row.BytesOut = &r.PacketsIn, &r.PacketsOut, &r.BytesIn, &r.BytesOut
	}
	if r.Endpoint != "" {
		row.Endpoint = &topEndpoint{r.Endpoint, r.Weight, r.Limit, r.Standing()}
	}
	return row
}

func (t *topTable) write(out io.Writer, format string) error {
	if format == "json" {
		return json.NewEncoder(out).Encode(t)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	partial := false
	fmt.Fprintln(w, "new/s\tactive\tinactive\tpackets in/s\tout/s\tbytes in/s\tout/s\tconnections\t  "+t.what())
	for i := range t.Services {
		r := &t.Services[i]
		partial = partial || r.Inactive == nil
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t  %s\n", short(r.New), orDash(r.Active, count), orDash(r.Inactive, count),
			orDash(r.PacketsIn, short), orDash(r.PacketsOut, short), orDash(r.BytesIn, short), orDash(r.BytesOut, short), r.Connections, r.name())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if t.More > 0 {
		fmt.Fprintf(out, "and %d more\n", t.More)
	}
	switch {
	case len(t.Services) == 0 && t.of != (model.Key{}):
		fmt.Fprintf(out, "Service %s has no endpoint here\n", t.of)
	case len(t.Services) == 0:
		fmt.Fprintln(out, "kube-ipvs has no virtual server here")
	}
	if partial {
		fmt.Fprintln(out, "-: not counted in full. At a mapped address conntrack carries connections past IPVS, which counts only new ones.")
	}
	return nil
}

// what names the rows.
func (t *topTable) what() string {
	if t.of != (model.Key{}) {
		return "endpoint of " + t.of.String()
	}
	return "service"
}

// name returns the last column of a row.
func (r *topRow) name() string {
	e := r.Endpoint
	if e == nil {
		return r.Service
	}
	return fmt.Sprintf("%s  weight %d%s", e.Address, e.Weight, status.Endpoint{Limit: uint32(e.Limit), Standing: e.Standing}.Note())
}

func count(n uint64) string { return fmt.Sprint(n) }

func orDash[T any](v *T, text func(T) string) string {
	if v == nil {
		return "-"
	}
	return text(*v)
}

// short spells a rate in few characters: 0.5, 12, 3.4k.
func short(v float64) string {
	for _, unit := range []string{"", "k", "M", "G", "T"} {
		if v < 1000 || unit == "T" {
			if v >= 10 || v == float64(int(v)) {
				return fmt.Sprintf("%.0f%s", v, unit)
			}
			return fmt.Sprintf("%.1f%s", v, unit)
		}
		v /= 1000
	}
	return ""
}
