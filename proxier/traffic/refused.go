package traffic

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// refusals counts the packets that the kernel refuses or drops at frontends without endpoints.
type refusals struct {
	config   desired.Config
	names    Names
	rows     int
	all, one *prometheus.Desc
	total    map[string]uint64
	last     map[state.ID]*seenPackets // by ipset entry: the kernel's counters
	ports    map[refusedPort]*seenPackets
	readings readings
}

func newRefusals(c desired.Config, names Names, rows int, log *slog.Logger) *refusals {
	return &refusals{
		config: c, names: names, rows: cmp.Or(max(rows, 0), DefaultRows),
		last: map[state.ID]*seenPackets{}, ports: map[refusedPort]*seenPackets{}, total: map[string]uint64{noEndpoints: 0, noLocalEndpoints: 0},
		all: prometheus.NewDesc("kube_ipvs_refused_packets_total",
			"Packets that the kernel refused or dropped at frontends of Services without a usable endpoint.", []string{"reason"}, nil),
		one: prometheus.NewDesc("kube_ipvs_service_refused_packets_total",
			"Packets that the kernel refused or dropped at a Service port without a usable endpoint.", []string{"namespace", "port", "reason", "service"}, nil),
		readings: newReadings("kube_ipvs_refused_read_errors_total", "Scrapes that could not read the counters of refused packets.",
			"the counters of refused packets cannot be read; scrapes leave their metrics out", log),
	}
}

// Values of the label reason.
const (
	noEndpoints      = "no_endpoints"
	noLocalEndpoints = "no_local_endpoints" // the policy is Local, and all endpoints are on other nodes
)

func reasonOf(entry state.ID) string {
	if entry.Set == state.SetReject || entry.Set == state.SetNodePortReject {
		return noEndpoints
	}
	return noLocalEndpoints
}

type refusedPort struct{ namespace, service, port, reason string }

// seenPackets is a counter and the time of its last reading.
type seenPackets struct {
	packets uint64
	at      time.Time
}

func (c *refusals) describe(ch chan<- *prometheus.Desc) {
	ch <- c.all
	ch <- c.one
	c.readings.Describe(ch)
}

func (c *refusals) collect(ch chan<- prometheus.Metric, t Tables) {
	read := map[state.ID]uint64{}
	err := t.Refused(func(entry state.ID, packets uint64) { read[entry] = packets })
	c.readings.done(err)
	c.readings.Collect(ch)
	if err != nil {
		return
	}
	c.take(read, time.Now())
	for reason, n := range c.total {
		ch <- prometheus.MustNewConstMetric(c.all, prometheus.CounterValue, float64(n), reason)
	}
	for _, p := range c.most() {
		ch <- prometheus.MustNewConstMetric(c.one, prometheus.CounterValue, float64(c.ports[p].packets), p.namespace, p.port, p.reason, p.service)
	}
}

// take adds the packets that a reading has beyond the last one.
func (c *refusals) take(read map[state.ID]uint64, now time.Time) {
	for entry, packets := range read {
		delta := packets
		if before := c.last[entry]; before != nil && packets >= before.packets { // fewer: the entry was made anew
			delta -= before.packets
		}
		c.last[entry] = &seenPackets{packets, now}
		reason := reasonOf(entry)
		c.total[reason] += delta
		served, known := c.served(entry)
		if !known {
			continue
		}
		key := refusedPort{served.Namespace, served.Name, served.Port, reason}
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

// served returns the Service port whose frontend an entry refuses: that of the virtual
// server to which the frontend would lead.
func (c *refusals) served(entry state.ID) (report.ServedPort, bool) {
	sets := []state.SetName{state.SetCluster, state.SetExternal}
	if entry.Set.Type() == state.HashNetPort {
		sets = []state.SetName{state.SetNodePort}
	}
	for _, set := range sets {
		entry.Set = set
		for _, server := range c.config.Servers(entry) {
			if s, ok := c.names.Served(server); ok {
				return s, true
			}
		}
	}
	return report.ServedPort{}, false
}

// forget drops counters that no reading has had for the time remember.
func forget[K comparable](seen map[K]*seenPackets, now time.Time) {
	for key, s := range seen {
		if now.Sub(s.at) > remember {
			delete(seen, key)
		}
	}
}

// most returns the ports that have series: those with the most packets.
func (c *refusals) most() []refusedPort {
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
