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

// DefaultRows is seven thousand series a level at most.
const DefaultRows = 1000

const (
	readTimeout = 5 * time.Second  // that a reading may take, within a scrape
	remember    = 10 * time.Minute // that a row which is gone is known for: endpoints come back, and a list may lack what the kernel moves
)

// NewCollector returns a collector of what r reads at each scrape: of Service ports,
// and of endpoints where r.Endpoints is set. rows is how many of either have series of
// their own; 0: DefaultRows.
//
// Counters do not go down while the kernel's do: it forgets those of a real
// server with the server. Of a row only what was added since the last reading
// counts, and each such bit in one series of a level: that of the row, if it
// is among those with the most connections, else that of all others
// together, whose service label is "(others)". A row that comes to have a
// series of its own begins there at 0, or where it once was.
func NewCollector(r *Reader, rows int, log *slog.Logger) prometheus.Collector {
	return newCollector(r.Rows, r.Endpoints, rows, log)
}

func newCollector(read func(context.Context) ([]Row, error), endpoints bool, rows int, log *slog.Logger) *collector {
	if rows <= 0 {
		rows = DefaultRows
	}
	c := &collector{
		read: read, rows: map[state.ID]*lastRow{}, servers: newServerInfo(rows), tables: []*table{newTable(&serviceLevel, rows)},
		readings: newReadings("kube_ipvs_traffic_read_errors_total", "Scrapes without traffic metrics, because what the kernel has counted could not be read.",
			"traffic cannot be read; its metrics are left out", log),
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
	tables   []*table // of Services, and of endpoints
	servers  *serverInfo
	readings readings
}

// lastRow is a row as it was last read.
type lastRow struct {
	counts
	number uint64 // of that reading
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

// take adds what is new in a reading.
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

// delta returns what a row has counted since it was last read. again says that
// it is in this reading twice.
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

// since returns what a row has counted now, and what of it was added since c.
func (c counts) since(r *Row) (have, delta counts) {
	have = c // what is not known in full says nothing of having begun anew
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

// counts is what only grows.
type counts ipvs.Stats

// below reports whether one of c is less than in o: it has begun anew, and
// with it all.
func (c counts) below(o counts) bool {
	return c.Connections < o.Connections || c.PacketsIn < o.PacketsIn || c.PacketsOut < o.PacketsOut || c.BytesIn < o.BytesIn || c.BytesOut < o.BytesOut
}

func (c counts) minus(o counts) counts {
	return counts{c.Connections - o.Connections, c.PacketsIn - o.PacketsIn, c.PacketsOut - o.PacketsOut, c.BytesIn - o.BytesIn, c.BytesOut - o.BytesOut}
}

func (c counts) plus(o counts) counts {
	return counts{c.Connections + o.Connections, c.PacketsIn + o.PacketsIn, c.PacketsOut + o.PacketsOut, c.BytesIn + o.BytesIn, c.BytesOut + o.BytesOut}
}
