package traffic

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
)

// Tables are those of the kernel, as a kernel.View reads them. Calls never overlap.
type Tables interface {
	Conntrack() (kernel.Fill, error)
	Sets() (map[state.ID]kernel.Fill, error)
	Refused(each func(entry state.ID, packets uint64)) error
}

// NewTablesCollector returns a collector of how full the kernel's tables are and of
// what it refuses for want of endpoints, which t reads at each scrape. What cannot be
// read is left out.
//
// The counters of refused packets go on when a frontend gets an endpoint and loses it
// again. At most rows Service ports, those with most packets, have series of their own,
// and those that are not refused any more lose it after a while; 0 rows: DefaultRows.
// c says which virtual server an entry would lead to, and names whose that is.
func NewTablesCollector(t Tables, c desired.Config, names Names, rows int, log *slog.Logger) prometheus.Collector {
	return &tablesCollector{
		tables: t, refused: newRefusals(c, names, rows, log),
		tracked:      prometheus.NewDesc("kube_ipvs_conntrack_entries", "Connections that the kernel tracks in the node's network namespace, whosever.", nil, nil),
		trackedLimit: prometheus.NewDesc("kube_ipvs_conntrack_limit", "How many connections the kernel tracks at most; new ones beyond are dropped. 0: no limit.", nil, nil),
		set:          prometheus.NewDesc("kube_ipvs_ipset_entries", "Entries of an ipset of ours.", []string{"set"}, nil),
		setLimit:     prometheus.NewDesc("kube_ipvs_ipset_limit", "How many entries an ipset of ours can have.", []string{"set"}, nil),
		readings: newReadings("kube_ipvs_table_read_errors_total", "Scrapes without all of the kernel's tables, because they could not be read.",
			"not all tables of the kernel can be read; their metrics are left out", log),
	}
}

type tablesCollector struct {
	tracked, trackedLimit, set, setLimit *prometheus.Desc

	mu       sync.Mutex
	tables   Tables
	refused  *refusals
	readings readings
}

// Describe is part of prometheus.Collector.
func (c *tablesCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.tracked, c.trackedLimit, c.set, c.setLimit} {
		ch <- d
	}
	c.readings.Describe(ch)
	c.refused.describe(ch)
}

// Collect is part of prometheus.Collector.
func (c *tablesCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tell := func(entries, limit *prometheus.Desc, fill kernel.Fill, labels ...string) {
		ch <- prometheus.MustNewConstMetric(entries, prometheus.GaugeValue, float64(fill.Entries), labels...)
		ch <- prometheus.MustNewConstMetric(limit, prometheus.GaugeValue, float64(fill.Limit), labels...)
	}
	tracked, err := c.tables.Conntrack()
	if err == nil {
		tell(c.tracked, c.trackedLimit, tracked)
	} else {
		err = fmt.Errorf("connections: %w", err)
	}
	sets, errSets := c.tables.Sets()
	for id, fill := range sets {
		tell(c.set, c.setLimit, fill, id.Set.Kernel(id.Addr()))
	}
	c.readings.done(errors.Join(err, errSets))
	c.readings.Collect(ch)
	c.refused.collect(ch, c.tables)
}
