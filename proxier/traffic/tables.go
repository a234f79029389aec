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

// Tables reads the kernel's tables; kernel.View implements it. Calls never overlap.
type Tables interface {
	Conntrack() (kernel.Fill, error)
	Sets() (map[state.ID]kernel.Fill, error)
	Refused(each func(entry state.ID, packets uint64)) error
}

// NewTablesCollector returns a collector of the fill of the kernel's tables and of the
// packets that the kernel refuses for want of endpoints. It reads t at each scrape, and
// leaves out the metrics of a table that cannot be read.
//
// The counters of refused packets go on when a frontend gets an endpoint and loses it
// again. At most rows Service ports, those with the most packets, have series of their own
// (0: DefaultRows); a port loses its series ten minutes after its last refusing entry. c
// finds the virtual server of an entry, and names the Service port of that.
func NewTablesCollector(t Tables, c desired.Config, names Names, rows int, log *slog.Logger) prometheus.Collector {
	return &tablesCollector{
		tables: t, refused: newRefusals(c, names, rows, log),
		tracked:      prometheus.NewDesc("kube_ipvs_conntrack_entries", "Connections that the kernel tracks in the node's network namespace, to Services or not.", nil, nil),
		trackedLimit: prometheus.NewDesc("kube_ipvs_conntrack_limit", "The most connections that the kernel tracks; it drops new ones beyond. 0: no limit.", nil, nil),
		set:          prometheus.NewDesc("kube_ipvs_ipset_entries", "Entries of an ipset of kube-ipvs.", []string{"set"}, nil),
		setLimit:     prometheus.NewDesc("kube_ipvs_ipset_limit", "The most entries that an ipset of kube-ipvs can have.", []string{"set"}, nil),
		readings: newReadings("kube_ipvs_table_read_errors_total", "Scrapes that could not read all tables of the kernel.",
			"tables of the kernel cannot be read; scrapes leave their metrics out", log),
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
		tell(c.set, c.setLimit, fill, id.Set.Kernel(id.Family()))
	}
	c.readings.done(errors.Join(err, errSets))
	c.readings.Collect(ch)
	c.refused.collect(ch, c.tables)
}
