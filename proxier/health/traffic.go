package health

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs/proxier/state"
)

// Traffic is what the kernel has counted for a virtual server, or for one
// endpoint behind it, since that came to be. The counters begin at 0 again when
// the kernel makes it anew, or go on if it still remembers the old one. Of one virtual server there is either kind of row:
// all rows of a Service port are added up.
type Traffic struct {
	Namespace, Service, Port string
	// Endpoint is the pod's name if known, else its address. Empty: the row is
	// the virtual server's, and counts for no endpoint.
	Endpoint string
	// Of is the virtual or real server, whatever its names are now. It is not
	// published. Without it the names stand for it. Rows that agree in it
	// are one that was read twice.
	Of                                       state.ID
	Connections                              uint64
	PacketsIn, PacketsOut, BytesIn, BytesOut uint64
	Active, Inactive                         uint64
	// Whole says that packets, bytes, Active and Inactive are known in full.
	// Where they are not, only Connections of the series that the row is part
	// of is published: nothing is too low.
	Whole bool
}

// TrafficReader reads what the kernel has counted, in any order.
type TrafficReader interface {
	Traffic(ctx context.Context) ([]Traffic, error)
}

// TrafficLevel says what has series of its own.
type TrafficLevel string

// The levels.
const (
	TrafficOff      TrafficLevel = "off"
	TrafficService  TrafficLevel = "service"
	TrafficEndpoint TrafficLevel = "endpoint" // Services too
)

// TrafficConfig is what a traffic collector must be told.
type TrafficConfig struct {
	Level TrafficLevel
	Rows  int // Service ports, and as many endpoints, with series of their own; 0: DefaultTrafficRows
	Log   *slog.Logger
}

// DefaultTrafficRows is seven thousand series a level at most.
const DefaultTrafficRows = 1000

const (
	readTimeout = 5 * time.Second  // that a reading may take, within a scrape
	remember    = 10 * time.Minute // that a row which is gone is known for: endpoints come back, and a list may lack what the kernel moves
)

// NewTrafficCollector returns a collector that reads r at each scrape.
//
// Counters do not go down while the kernel's do: it forgets those of a real
// server with the server. Of a row only what was added since the last reading
// counts, and each such bit in one series of a level: that of the row, if it
// is among the Rows with the most connections, else that of all others
// together, whose service label is "(others)". A row that comes to have a
// series of its own begins there at 0, or where it once was.
func NewTrafficCollector(r TrafficReader, c TrafficConfig) prometheus.Collector {
	if c.Rows <= 0 {
		c.Rows = DefaultTrafficRows
	}
	t := &trafficCollector{reader: r, rows: map[rowKey]*lastRow{}, servers: newServerInfo(c.Rows)}
	if c.Level == TrafficService || c.Level == TrafficEndpoint {
		t.tables = append(t.tables, newTable(&serviceLevel, c.Rows))
	}
	if c.Level == TrafficEndpoint {
		t.tables = append(t.tables, newTable(&endpointLevel, c.Rows))
	}
	t.readings = readings{counter("kube_ipvs_traffic_read_errors_total", "Scrapes without traffic metrics, because what the kernel has counted could not be read."),
		c.Log, "traffic cannot be read; its metrics are left out", false}
	return t
}

type trafficCollector struct {
	reader TrafficReader

	mu       sync.Mutex
	number   uint64 // of readings
	rows     map[rowKey]*lastRow
	tables   []*table // of Services, and of endpoints
	servers  *serverInfo
	readings readings
}

// rowKey is what has counters: by what it is in the kernel if that is known,
// because a pod's name may come later, or change.
type rowKey struct {
	of   state.ID
	name seriesKey
}

// lastRow is a row as it was last read.
type lastRow struct {
	counts
	number uint64 // of that reading
	at     time.Time
}

// Describe is part of prometheus.Collector.
func (t *trafficCollector) Describe(ch chan<- *prometheus.Desc) {
	if len(t.tables) > 0 {
		t.readings.Describe(ch)
		ch <- t.servers.desc
	}
	for _, tb := range t.tables {
		tb.describe(ch)
	}
}

// Collect is part of prometheus.Collector.
func (t *trafficCollector) Collect(ch chan<- prometheus.Metric) {
	if len(t.tables) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.readings.Collect(ch)
	rows, err := t.reader.Traffic(ctx)
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
func (t *trafficCollector) take(rows []Traffic, now time.Time) {
	t.number++
	for i := range rows {
		r := &rows[i]
		name := seriesKey{r.Namespace, r.Service, r.Port, r.Endpoint}
		key := rowKey{of: r.Of}
		if r.Of == (state.ID{}) {
			key.name = name
		}
		delta, again := t.delta(key, r, now)
		if again {
			continue
		}
		for j, tb := range t.tables {
			switch {
			case j == 0:
				name.endpoint = ""
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
func (t *trafficCollector) delta(key rowKey, r *Traffic, now time.Time) (delta counts, again bool) {
	last := t.rows[key]
	if last == nil {
		last = &lastRow{}
		t.rows[key] = last
	} else if last.number == t.number {
		return counts{}, true
	}
	have, delta := last.since(r)
	last.counts, last.number, last.at = have, t.number, now
	return delta, false
}

// since returns what a row has counted now, and what of it was added since c.
func (c counts) since(r *Traffic) (have, delta counts) {
	have = c // what is not known in full says nothing of having begun anew
	have.connections = r.Connections
	if r.Whole {
		have = countsOf(r)
	}
	delta = have
	if !have.below(c) {
		delta = have.minus(c)
	}
	return have, delta
}

// counts is what only grows.
type counts struct{ connections, packetsIn, packetsOut, bytesIn, bytesOut uint64 }

func countsOf(r *Traffic) counts {
	return counts{r.Connections, r.PacketsIn, r.PacketsOut, r.BytesIn, r.BytesOut}
}

// below reports whether one of c is less than in o: it has begun anew, and
// with it all.
func (c counts) below(o counts) bool {
	return c.connections < o.connections || c.packetsIn < o.packetsIn || c.packetsOut < o.packetsOut || c.bytesIn < o.bytesIn || c.bytesOut < o.bytesOut
}

func (c counts) minus(o counts) counts {
	return counts{c.connections - o.connections, c.packetsIn - o.packetsIn, c.packetsOut - o.packetsOut, c.bytesIn - o.bytesIn, c.bytesOut - o.bytesOut}
}

func (c counts) plus(o counts) counts {
	return counts{c.connections + o.connections, c.packetsIn + o.packetsIn, c.packetsOut + o.packetsOut, c.bytesIn + o.bytesIn, c.bytesOut + o.bytesOut}
}
