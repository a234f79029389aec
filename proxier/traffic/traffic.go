package traffic

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/state"
)

// DefaultRows is the default number of Service ports, and of endpoints, with series of
// their own: at most seven thousand series of Service ports, and about ten thousand of
// endpoints.
const DefaultRows = 1000

const (
	readTimeout = 5 * time.Second  // limit of a reading, within a scrape
	remember    = 10 * time.Minute // a missing row is known for so long: endpoints come back, and a list may lack an object that the kernel moves
)

// NewCollector returns a collector that reads r at each scrape and exports series of
// Service ports, and of endpoints if r.Endpoints is set. At most rows of either have
// series of their own; 0: DefaultRows.
//
// Counters never go down, though the kernel forgets those of a real server with the
// server: the collector adds to a series what a row has counted since the last reading.
// The rows with the most connections have series of their own; all others add to one
// series, whose service label is "(others)". A row that gets a series of its own begins
// there at 0, or at the last value of that series.
func NewCollector(r *Reader, rows int, log *slog.Logger) prometheus.Collector {
	return newCollector(r.Rows, r.Endpoints, rows, log)
}

func newCollector(read func(context.Context) ([]Row, error), endpoints bool, rows int, log *slog.Logger) *collector {
	if rows <= 0 {
		rows = DefaultRows
	}
	c := &collector{
		read: read, rows: map[state.ID]*lastRow{}, servers: newServerInfo(rows), tables: []*table{newTable(&serviceLevel, rows)},
		readings: newReadings("kube_ipvs_traffic_read_errors_total", "Scrapes that could not read the counters of IPVS.",
			"the counters of IPVS cannot be read; scrapes leave their metrics out", log),
	}
	if endpoints {
		c.tables = append(c.tables, newTable(&endpointLevel, rows))
	}
	return c
}

type collector struct {
	read func(context.Context) ([]Row, error)

	mu       sync.Mutex
	number   uint64 // of readings
	rows     map[state.ID]*lastRow
	tables   []*table // the first of Service ports, the second, if any, of endpoints
	servers  *serverInfo
	readings readings
}

// lastRow is the last reading of a row.
type lastRow struct {
	counts
	number uint64 // the reading's
	at     time.Time
}

// Describe is part of prometheus.Collector.
func (t *collector) Describe(ch chan<- *prometheus.Desc) {
	t.readings.Describe(ch)
	ch <- t.servers.desc
	for _, tb := range t.tables {
		tb.describe(ch)
	}
}

// Collect is part of prometheus.Collector.
func (t *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.readings.Collect(ch)
	rows, err := t.read(ctx)
	t.readings.done(err)
	if err != nil {
		return
	}
	t.take(rows, time.Now())
	for _, tb := range t.tables {
		tb.collect(ch)
	}
	t.servers.collect(ch)
}

// take adds the counts that a reading has beyond the last one.
func (t *collector) take(rows []Row, now time.Time) {
	t.number++
	for i := range rows {
		r := &rows[i]
		name := seriesKey{namespace: r.Namespace, service: r.Name, port: r.Port}
		delta, again := t.delta(r, now)
		if again {
			continue
		}
		for j, tb := range t.tables {
			switch {
			case j == 0:
				t.servers.note(r.Of, tb.add(name, t.number, now, delta, r))
			case r.Endpoint != "":
				name.endpoint = r.Endpoint
				tb.add(name, t.number, now, delta, r)
			}
		}
	}
	for key, last := range t.rows {
		if now.Sub(last.at) > remember {
			delete(t.rows, key)
		}
	}
	for _, tb := range t.tables {
		tb.settle(t.number, now)
	}
}

// delta returns the counts of a row since it was last read. again says that the
// reading has the row twice.
func (t *collector) delta(r *Row, now time.Time) (delta counts, again bool) {
	last := t.rows[r.Of]
	if last == nil {
		last = &lastRow{}
		t.rows[r.Of] = last
	} else if last.number == t.number {
		return counts{}, true
	}
	have, delta := last.since(r)
	last.counts, last.number, last.at = have, t.number, now
	return delta, false
}

// since returns the present counts of a row, and their growth since c.
func (c counts) since(r *Row) (have, delta counts) {
	have = c // a row that is not whole does not show whether packets and bytes began anew
	have.Connections = r.Connections
	if r.Whole {
		have = counts(r.Stats)
	}
	delta = have
	if !have.below(c) {
		delta = have.minus(c)
	}
	return have, delta
}

// counts are the counters that only grow.
type counts ipvs.Stats

// below reports whether a counter of c is lower than in o: then all have begun anew.
func (c counts) below(o counts) bool {
	return c.Connections < o.Connections || c.PacketsIn < o.PacketsIn || c.PacketsOut < o.PacketsOut || c.BytesIn < o.BytesIn || c.BytesOut < o.BytesOut
}

func (c counts) minus(o counts) counts {
	return counts{c.Connections - o.Connections, c.PacketsIn - o.PacketsIn, c.PacketsOut - o.PacketsOut, c.BytesIn - o.BytesIn, c.BytesOut - o.BytesOut}
}

func (c counts) plus(o counts) counts {
	return counts{c.Connections + o.Connections, c.PacketsIn + o.PacketsIn, c.PacketsOut + o.PacketsOut, c.BytesIn + o.BytesIn, c.BytesOut + o.BytesOut}
}
