package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// summary counts in one line.
func (r *Results) summary(ours []string) string {
	var parts []string
	counted := 0
	for _, row := range r.Rows {
		if r.Played(row) {
			counted++
		}
	}
	for _, p := range r.Proxies[1:] {
		equal := 0
		for _, row := range r.Rows {
			if r.Equal(row, p) {
				equal++
			}
		}
		name := "kube-proxy-" + p
		if slices.Contains(ours, p) {
			name = "kube-ipvs (" + p + ")"
		}
		parts = append(parts, fmt.Sprintf("%s equal %d", name, equal))
	}
	line := fmt.Sprintf("%d cases: %s", counted, strings.Join(parts, ", "))
	if n := len(r.Rows) - counted; n > 0 {
		line += fmt.Sprintf("; %d that %s mode could not play", n, r.Proxies[0])
	}
	return line
}

// scenarioRows calls each with the rows of every scenario, chapter by chapter.
func (r *Results) scenarioRows(each func(chapter, scenario string, rows []*Row)) {
	type group struct{ chapter, scenario string }
	var chapters []string
	groups, rows := map[string][]group{}, map[group][]*Row{}
	for _, row := range r.Rows {
		g := group{row.Chapter, row.Scenario}
		if rows[g] == nil {
			if groups[g.chapter] == nil {
				chapters = append(chapters, g.chapter)
			}
			groups[g.chapter] = append(groups[g.chapter], g)
		}
		rows[g] = append(rows[g], row)
	}
	for _, c := range chapters {
		for _, g := range groups[c] {
			each(g.chapter, g.scenario, rows[g])
		}
	}
}

// Table prints everything: the outcome of iptables mode, and the proxies that differ.
func (r *Results) Table(w io.Writer) {
	last := ""
	r.scenarioRows(func(chapter, scenario string, rows []*Row) {
		if chapter != last {
			fmt.Fprintf(w, "\n== %s\n", chapter)
			last = chapter
		}
		fmt.Fprintf(w, "\n%s%s\n", scenario, inVariant(rows[0].Variant))
		for _, m := range merge(rows, r.Proxies) {
			fmt.Fprintf(w, "  %-62s %s\n", m, m.Outcomes[r.Proxies[0]])
			for _, p := range r.Proxies[1:] {
				if r.Equal(m.Row, p) {
					continue
				}
				mark := "≠"
				if m.Reasons[p] != "" {
					mark = "(≠)"
				}
				fmt.Fprintf(w, "  %62s %s\n", mark+" "+p, m.Outcomes[p])
			}
		}
	})
}

func inVariant(v Variant) string {
	if v == Base {
		return ""
	}
	return " [" + string(v) + "]"
}

// writeTo writes everything to a file, unless that has no name.
func (r *Results) writeTo(path string) error {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// read adds what files of writeTo hold. Of a proxy that has played a scenario twice
// the later file counts.
func (r *Results) read(paths []string) error {
	index := map[string]*Row{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var more Results
		if err := json.Unmarshal(text, &more); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		r.forget(&more)
		r.Proxies = append(r.Proxies, more.Proxies...)
		for _, row := range more.Rows {
			if old := index[row.ID()]; old != nil {
				maps.Copy(old.Outcomes, row.Outcomes)
				continue
			}
			index[row.ID()] = row
			r.Rows = append(r.Rows, row)
		}
	}
	var order []string
	for _, p := range proxies("", "") {
		order = append(order, p.Name)
	}
	slices.SortFunc(r.Proxies, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) })
	r.Proxies = slices.Compact(r.Proxies)
	r.Rows = slices.DeleteFunc(r.Rows, func(row *Row) bool { return len(row.Outcomes) == 0 })
	return nil
}

// forget drops the results of proxies in scenarios that later results have again.
func (r *Results) forget(later *Results) {
	again := map[[2]string]bool{}
	for _, row := range later.Rows {
		again[[2]string{row.Chapter, row.Scenario}] = true
	}
	for _, row := range r.Rows {
		if again[[2]string{row.Chapter, row.Scenario}] {
			maps.DeleteFunc(row.Outcomes, func(proxy, _ string) bool { return slices.Contains(later.Proxies, proxy) })
		}
	}
}
