package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// balancing writes the figures of the part balance into docs/balancing.md, which has the
// place for them.
func (r *Results) balancing(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const begin, end = "<!-- generated: figures -->\n", "<!-- end of figures -->\n"
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, also := strings.Cut(rest, end)
	if !ok || !also {
		return fmt.Errorf("%s has no place for figures", filepath.Base(path))
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\nkube-proxy %s; measured on %s.\n", r.KubeProxy, r.Machine)
	for _, topic := range balanceTopics {
		out.WriteString(r.shares(topic))
	}
	return os.WriteFile(path, []byte(before+begin+out.String()+"\n"+end+after), 0o644)
}

// shares has a line for each subject: one sample, which no machine changes, and the counts.
func (r *Results) shares(topic string) string {
	of := r.of(topic)
	if len(of) == 0 {
		return ""
	}
	counts := slices.Sorted(maps.Keys(of[0].Counts))
	header := append([]string{"of", of[0].Unit}, counts...)
	var out strings.Builder
	fmt.Fprintf(&out, "\n### %s\n\n| %s |\n|%s\n", topic, strings.Join(header, " | "), strings.Repeat("---|", len(header)))
	for _, f := range of {
		cells := []string{f.Subject, number(f.Median())}
		for _, name := range counts {
			cells = append(cells, number(f.Counts[name]))
		}
		fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | "))
	}
	return out.String()
}
