package health

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs/proxier/state"
)

// Refused is what the kernel has refused at one frontend since that has had no
// endpoint to lead to.
type Refused struct {
	Namespace, Service, Port string // no Service: it is not known whose the frontend is
	Elsewhere                bool   // there are endpoints, but the policy wants one on this node
	Of                       state.ID
	Packets                  uint64
}

// RefusedReader reads what the kernel has refused, in any order.
type RefusedReader interface {
	Refused() ([]Refused, error)
}

// NewRefusedCollector returns a collector that reads r at each scrape. Its
// counters go on when a frontend gets an endpoint and loses it again. At most
// rows Service ports, those with most packets, have series of their own, and
// those that are not refused any more lose it after a while; 0 rows:
// DefaultTrafficRows.
func NewRefusedCollector(r RefusedReader, rows int, log *slog.Logger) prometheus.Collector {
	return &refusedCollector{
		reader: r, rows: cmp.Or(max(rows, 0), DefaultTrafficRows),
		last: map[state.ID]*seenPackets{}, ports: map[refusedPort]*seenPackets{}, total: map[string]uint64{noEndpoints: 0, noLocalEndpoints: 0},
		all: prometheus.NewDesc("kube_ipvs_refused_packets_total",
			"Packets to frontends of Services that have no endpoint for them, and were refused or dropped.", []string{"reason"}, nil),
		one: prometheus.NewDesc("kube_ipvs_service_refused_packets_total",
			"Packets to a Service port that had no endpoint for them, and were refused or dropped.", []string{"namespace", "port", "reason", "service"}, nil),
		readings: readings{counter("kube_ipvs_refused_read_errors_total", "Scrapes without what was refused, because it could not be read."),
			log, "what is refused cannot be read; its metrics are left out", false},
	}
}

// Values of the label reason.
const (
	noEndpoints      = "no_endpoints"
	noLocalEndpoints = "no_local_endpoints"
)

type refusedCollector struct {
	reader   RefusedReader
	rows     int
	all, one *prometheus.Desc

	mu       sync.Mutex
	total    map[string]uint64
	last     map[state.ID]*seenPackets // as the kernel counts them
	ports    map[refusedPort]*seenPackets
	readings readings
}

type refusedPort struct{ namespace, service, port, reason string }

// seenPackets is a count as it was when it was last seen.
type seenPackets struct {
	packets uint64
	at      time.Time
}

// Describe is part of prometheus.Collector.
func (c *refusedCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.all
	ch <- c.one
	c.readings.Describe(ch)
}

// Collect is part of prometheus.Collector.
func (c *refusedCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all, err := c.reader.Refused()
	c.readings.done(err)
	c.readings.Collect(ch)
	if err != nil {
		return
	}
	c.take(all, time.Now())
	for reason, n := range c.total {
		ch <- prometheus.MustNewConstMetric(c.all, prometheus.CounterValue, float64(n), reason)
	}
	for _, p := range c.most() {
		ch <- prometheus.MustNewConstMetric(c.one, prometheus.CounterValue, float64(c.ports[p].packets), p.namespace, p.port, p.reason, p.service)
	}
}

// take adds what is new in a reading.
func (c *refusedCollector) take(all []Refused, now time.Time) {
	for i := range all {
		r := &all[i]
		before := c.last[r.Of]
		if before == nil {
			before = &seenPackets{}
			c.last[r.Of] = before
		}
		delta := r.Packets
		if delta >= before.packets { // else the entry was made anew
			delta -= before.packets
		}
		before.packets, before.at = r.Packets, now
		reason := noEndpoints
		if r.Elsewhere {
			reason = noLocalEndpoints
		}
		c.total[reason] += delta
		if r.Service == "" {
			continue
		}
		key := refusedPort{r.Namespace, r.Service, r.Port, reason}
		port := c.ports[key]
		if port == nil {
			port = &seenPackets{}
			c.ports[key] = port
		}
		port.packets += delta
		port.at = now
	}
	forget(c.last, now)
	forget(c.ports, now)
}

// forget drops what was last seen long ago.
func forget[K comparable](seen map[K]*seenPackets, now time.Time) {
	for key, s := range seen {
		if now.Sub(s.at) > remember {
			delete(seen, key)
		}
	}
}

// most returns the ports that have series.
func (c *refusedCollector) most() []refusedPort {
	out := make([]refusedPort, 0, len(c.ports))
	for p := range c.ports {
		out = append(out, p)
	}
	if len(out) > c.rows {
		slices.SortFunc(out, func(a, b refusedPort) int {
			return cmp.Or(cmp.Compare(c.ports[b].packets, c.ports[a].packets), cmp.Compare(a.namespace, b.namespace),
				cmp.Compare(a.service, b.service), cmp.Compare(a.port, b.port), cmp.Compare(a.reason, b.reason))
		})
		out = out[:c.rows]
	}
	return out
}
