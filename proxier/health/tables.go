package health

import (
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Table is how full a table of the kernel is.
type Table struct {
	Set            string // the ipset of ours; empty: tracked connections
	Entries, Limit uint64 // Limit 0: none
}

// TablesReader reads how full the kernel's tables are.
type TablesReader interface {
	Tables() ([]Table, error)
}

// NewTablesCollector returns a collector that reads r at each scrape. Tables
// that cannot be read are left out.
func NewTablesCollector(r TablesReader, log *slog.Logger) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &tablesCollector{
		reader:       r,
		tracked:      desc("kube_ipvs_conntrack_entries", "Connections that the kernel tracks in the node's network namespace, whosever."),
		trackedLimit: desc("kube_ipvs_conntrack_limit", "How many connections the kernel tracks at most; new ones beyond are dropped. 0: no limit."),
		set:          desc("kube_ipvs_ipset_entries", "Entries of an ipset of ours.", "set"),
		setLimit:     desc("kube_ipvs_ipset_limit", "How many entries an ipset of ours can have.", "set"),
		readings: readings{counter("kube_ipvs_table_read_errors_total", "Scrapes without all of the kernel's tables, because they could not be read."),
			log, "not all tables of the kernel can be read; their metrics are left out", false},
	}
}

type tablesCollector struct {
	reader                               TablesReader
	tracked, trackedLimit, set, setLimit *prometheus.Desc

	mu       sync.Mutex
	readings readings
}

// Describe is part of prometheus.Collector.
func (c *tablesCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.tracked, c.trackedLimit, c.set, c.setLimit} {
		ch <- d
	}
	c.readings.Describe(ch)
}

// Collect is part of prometheus.Collector.
func (c *tablesCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tables, err := c.reader.Tables()
	c.readings.done(err)
	c.readings.Collect(ch)
	for _, t := range tables {
		have, limit, labels := c.set, c.setLimit, []string{t.Set}
		if t.Set == "" {
			have, limit, labels = c.tracked, c.trackedLimit, nil
		}
		ch <- prometheus.MustNewConstMetric(have, prometheus.GaugeValue, float64(t.Entries), labels...)
		ch <- prometheus.MustNewConstMetric(limit, prometheus.GaugeValue, float64(t.Limit), labels...)
	}
}
