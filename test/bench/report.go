package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ours is the subject that the others are set against.
const ours = "kube-ipvs"

// Print writes the tables in Markdown, which a terminal shows well enough.
func (r *Results) tables() string {
	var out strings.Builder
	for _, topic := range r.topics() {
		out.WriteString(r.table(topic))
	}
	return out.String()
}

// table has a line for each size and subject: quantiles, how many times ours
// that is, the spread, and the counts.
func (r *Results) table(topic string) string {
	of := r.of(topic)
	var out strings.Builder
	counts := []string{}
	for _, f := range of {
		for name := range f.Counts {
			if !slices.Contains(counts, name) {
				counts = append(counts, name)
			}
		}
	}
	slices.Sort(counts)
	header := append([]string{"Services × endpoints", "of", "p50", "p90", "p99", "n", "spread", "× " + ours}, counts...)
	fmt.Fprintf(&out, "\n### %s (%s)\n\n| %s |\n|%s\n", topic, of[0].Unit, strings.Join(header, " | "), strings.Repeat("---|", len(header)))
	var notes []string
	for _, s := range distinct(of, sizeOf) {
		for _, subject := range distinct(of, func(f *Figure) string { return f.Subject }) {
			f := find(of, subject, s)
			if f == nil {
				continue
			}
			ratio := "1"
			if base := find(of, ours, s); base == nil || len(f.Samples) == 0 || base.Median() == 0 {
				ratio = ""
			} else if subject != ours {
				ratio = number(f.Median() / base.Median())
			}
			cells := []string{fmt.Sprintf("%d × %d", s.services, s.endpoints), subject,
				number(f.Median()), number(f.Quantile(0.9)), number(f.Quantile(0.99)), strconv.Itoa(len(f.Samples)), percent(f), ratio}
			for _, name := range counts {
				cell := ""
				if n, ok := f.Counts[name]; ok {
					cell = number(n)
				}
				cells = append(cells, cell)
			}
			fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | "))
			if f.Note != "" {
				notes = append(notes, fmt.Sprintf("%s, %d × %d: %s.", subject, s.services, s.endpoints, f.Note))
			}
		}
	}
	if len(notes) > 0 {
		fmt.Fprintf(&out, "\n%s\n", strings.Join(notes, "\n"))
	}
	return out.String()
}

func percent(f *Figure) string {
	if len(f.Samples) < 4 {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*f.Spread())
}

// number prints three digits that mean something.
func number(x float64) string {
	if math.IsNaN(x) {
		return ""
	}
	if x == math.Trunc(x) && math.Abs(x) < 1e7 {
		return strconv.Itoa(int(x))
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(x))))
	return strconv.FormatFloat(x, 'f', max(0, digits), 64)
}

// write writes bench.json into a folder and, if docs is not empty, the report with its
// pictures, and that of the part balance, if they are complete.
func (r *Results) write(out, docs string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(out, 0o755), os.WriteFile(filepath.Join(out, "bench.json"), append(text, '\n'), 0o644)); err != nil || docs == "" {
		return err
	}
	if r.complete() {
		err = r.document(docs)
	}
	if !r.Small && slices.Contains(r.Parts, "balance") {
		err = errors.Join(err, r.balancing(filepath.Join(filepath.Dir(docs), "balancing.md")))
	}
	return err
}
