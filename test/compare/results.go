package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Row is a case: the observation of one request, or of one question, of a scenario.
type Row struct {
	Chapter  string            `json:"chapter"`
	Scenario string            `json:"scenario"`
	Variant  Variant           `json:"variant,omitempty"`
	Case     string            `json:"case"`
	Outcomes map[string]string `json:"outcomes"`         // by proxy
	Reasons  map[string]string `json:"known,omitempty"`  // of kube-ipvs's known differences, by proxy
	Better   map[string]bool   `json:"better,omitempty"` // the difference is one for the better, by proxy
}

// ID names the row; known differences are looked up by it.
func (r *Row) ID() string { return r.Chapter + " / " + r.Scenario + " / " + r.Case }

// Results are the rows, in the order in which the first proxy came to them until
// they are put into that of the scenarios.
type Results struct {
	Proxies []string `json:"proxies"` // the others are compared with the first
	Rows    []*Row   `json:"rows"`
	mu      sync.Mutex
	index   map[string]*Row
}

func newResults(proxies []*Proxy) *Results {
	out := &Results{index: map[string]*Row{}}
	for _, p := range proxies {
		out.Proxies = append(out.Proxies, p.Name)
	}
	return out
}

// notPlayed begins the outcome of a case that could not be brought about.
const notPlayed = "not played: "

func (r *Results) record(p *Proxy, s Scenario, what, outcome string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row := &Row{Chapter: s.Chapter, Scenario: s.Name, Variant: s.Variant, Case: what}
	if old := r.index[row.ID()]; old != nil {
		row = old
	} else {
		row.Outcomes = map[string]string{}
		r.index[row.ID()] = row
		r.Rows = append(r.Rows, row)
	}
	if was, twice := row.Outcomes[p.Name]; twice {
		outcome = fmt.Sprintf("%srecorded twice: %s, %s", notPlayed, was, outcome)
	}
	row.Outcomes[p.Name] = outcome
}

func (r *Results) fail(p *Proxy, s Scenario, err error) {
	first, _, _ := strings.Cut(err.Error(), "\n")
	r.record(p, s, "the scenario", notPlayed+first)
}

// order puts the rows into the order of the scenarios: some are played side by
// side.
func (r *Results) order(of []Scenario) {
	place := map[[2]string]int{}
	for i, s := range of {
		place[[2]string{s.Chapter, s.Name}] = i
	}
	slices.SortStableFunc(r.Rows, func(a, b *Row) int {
		return cmp.Compare(place[[2]string{a.Chapter, a.Scenario}], place[[2]string{b.Chapter, b.Scenario}])
	})
}

// complete gives every row an outcome of every proxy, and every scenario that
// some proxy could not play a row that says so.
func (r *Results) complete() {
	for _, row := range r.Rows {
		for _, p := range r.Proxies {
			if row.Outcomes[p] != "" {
				continue
			}
			row.Outcomes[p] = notPlayed + "see the scenario"
			if row.Case == "the scenario" {
				row.Outcomes[p] = "played"
			}
		}
	}
}

// Played tells whether the proxy that the others are compared with could play it.
func (r *Results) Played(row *Row) bool {
	return !strings.HasPrefix(row.Outcomes[r.Proxies[0]], notPlayed)
}

// Equal tells whether a proxy did the same as the first.
func (r *Results) Equal(row *Row, proxy string) bool {
	return r.Played(row) && row.Outcomes[proxy] == row.Outcomes[r.Proxies[0]]
}
