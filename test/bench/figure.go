package main

import (
	"math"
	"slices"
)

// Figure is the measurements of one subject at one size, some times over.
type Figure struct {
	Topic     string             `json:"topic"`     // names a table
	Subject   string             `json:"subject"`   // kube-ipvs, iptables, floor ...
	Services  int                `json:"services"`  // that were there
	Endpoints int                `json:"endpoints"` // of each
	Unit      string             `json:"unit"`
	Samples   []float64          `json:"samples"`
	Counts    map[string]float64 `json:"counts,omitempty"` // that do not depend on the machine: messages, bytes, forks, allocations
	Note      string             `json:"note,omitempty"`   // such as why there are fewer samples than of others
}

// Quantile returns the least sample that a share q of all does not exceed; NaN
// without samples.
func (f *Figure) Quantile(q float64) float64 {
	if len(f.Samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(f.Samples))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// Median returns the middle of the samples.
func (f *Figure) Median() float64 { return f.Quantile(0.5) }

// Spread returns how far the quartiles lie apart, as a share of the median.
func (f *Figure) Spread() float64 { return (f.Quantile(0.75) - f.Quantile(0.25)) / f.Median() }

// Results are all figures of a run.
type Results struct {
	Machine   string    `json:"machine"`   // kernel and CPUs
	KubeProxy string    `json:"kubeProxy"` // its version
	Small     bool      `json:"small"`     // fewer and smaller
	Parts     []string  `json:"parts"`     // that were run to their end
	Figures   []*Figure `json:"figures"`
}

// Add notes a figure.
func (r *Results) Add(f *Figure) { r.Figures = append(r.Figures, f) }

// merge takes over the figures of runs. The machine is that of the first; figures of
// another machine say so.
func (r *Results) merge(of []*Results) {
	for i, other := range of {
		if i == 0 {
			r.Machine = other.Machine
		}
		r.Small = r.Small || other.Small
		r.Parts = append(r.Parts, other.Parts...)
		for _, f := range other.Figures {
			if other.Machine != r.Machine {
				f.Note = join(f.Note, "measured on "+other.Machine)
			}
			r.Add(f)
		}
	}
}

// fold takes over figures of a part of a run: it adds samples to those of earlier
// measurements.
func (r *Results) fold(other *Results) {
	for _, f := range other.Figures {
		known := find(r.of(f.Topic), f.Subject, sizeOf(f))
		if known == nil {
			r.Add(f)
			continue
		}
		known.Samples = append(known.Samples, f.Samples...)
		known.Counts = f.Counts
	}
}

// topics returns the topics in the order in which they were measured.
func (r *Results) topics() []string {
	return distinct(r.Figures, func(f *Figure) string { return f.Topic })
}

// of returns the figures of a topic.
func (r *Results) of(topic string) []*Figure {
	return slices.DeleteFunc(slices.Clone(r.Figures), func(f *Figure) bool { return f.Topic != topic })
}

// find returns the figure of a subject at a size, or nil.
func find(of []*Figure, subject string, s size) *Figure {
	i := slices.IndexFunc(of, func(f *Figure) bool { return f.Subject == subject && sizeOf(f) == s })
	if i < 0 {
		return nil
	}
	return of[i]
}

// size is how much there was.
type size struct{ services, endpoints int }

func sizeOf(f *Figure) size { return size{f.Services, f.Endpoints} }

// distinct returns the results of key for each, without repetitions, in order.
func distinct[T any, K comparable](of []T, key func(T) K) []K {
	var out []K
	for _, x := range of {
		if k := key(x); !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}
