package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs/proxier/model"
)

// mostTroubled is how many objects and causes have a series of their own: all
// nodes have the same.
const mostTroubled = 100

// NewProblems returns a collector of what is wrong now with the
// objects that say what to program, by object and by the field that is wrong.
// problems is called at each scrape. It returns lists that do not change.
func NewProblems(problems func() [][]model.Problem) prometheus.Collector {
	return &problemsCollector{
		problems: problems,
		of: prometheus.NewDesc("kube_ipvs_object_problems",
			"What is wrong with an object that says what to program, by field without the numbers of list elements. At most 100 have a series, of all namespaces in turn.",
			[]string{"field", "kind", "name", "namespace"}, nil),
		omitted: prometheus.NewDesc("kube_ipvs_object_problems_omitted", "Objects and fields with problems that have no series of their own.", nil, nil),
		source: prometheus.NewDesc("kube_ipvs_source_problems",
			"What keeps objects from being read: the API server, or a file or folder of manifests.", nil, nil),
	}
}

type problemsCollector struct {
	problems            func() [][]model.Problem
	of, omitted, source *prometheus.Desc
}

// Describe is part of prometheus.Collector.
func (c *problemsCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.of
	ch <- c.omitted
	ch <- c.source
}

// Collect is part of prometheus.Collector.
func (c *problemsCollector) Collect(ch chan<- prometheus.Metric) {
	type row struct{ field, kind, name, namespace string }
	lists := c.problems()
	all, omitted := model.Troubles(mostTroubled, lists...)
	rows := map[row]int{} // an object may have been made anew, and its problem not yet gone
	for i := range all {
		t := &all[i]
		rows[row{t.Cause, t.Kind, t.Name, t.Namespace}] += t.Count
	}
	for r, n := range rows {
		ch <- prometheus.MustNewConstMetric(c.of, prometheus.GaugeValue, float64(n), r.field, r.kind, r.name, r.namespace)
	}
	source := 0
	for _, list := range lists {
		for i := range list {
			if list[i].Object == "" {
				source++
			}
		}
	}
	ch <- prometheus.MustNewConstMetric(c.omitted, prometheus.GaugeValue, float64(omitted))
	ch <- prometheus.MustNewConstMetric(c.source, prometheus.GaugeValue, float64(source))
}
