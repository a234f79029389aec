package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs/proxier/model"
)

// mostTroubled is the number of objects and fields that have series of their own. It
// is low, since all nodes export the same series.
const mostTroubled = 100

// NewProblems returns a collector of the present problems of source objects, by object
// and field. Each scrape calls problems, which returns lists that do not change.
func NewProblems(problems func() [][]model.Problem) prometheus.Collector {
	return &problemsCollector{
		problems: problems,
		of: prometheus.NewDesc("kube_ipvs_object_problems",
			"Faults of a Service, EndpointSlice or other source object, by field without the indexes of lists. At most 100 objects and fields have series, from all namespaces in turn.",
			[]string{"field", "kind", "name", "namespace"}, nil),
		omitted: prometheus.NewDesc("kube_ipvs_object_problems_omitted", "Objects and fields that have faults and no series of their own.", nil, nil),
		source: prometheus.NewDesc("kube_ipvs_source_problems",
			"Faults of the source that keep objects from being read: the API server, or a file or folder of manifests.", nil, nil),
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
	rows := map[row]int{} // adds up: an object made anew may still have the problem of the old one
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
