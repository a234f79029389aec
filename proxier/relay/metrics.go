package relay

import "github.com/prometheus/client_golang/prometheus"

// metrics counts connections; a UDP flow counts as one.
type metrics struct {
	total  *prometheus.CounterVec
	open   *prometheus.GaugeVec
	errors *prometheus.CounterVec
}

// causes are the values of the label cause.
var causes = []string{"dial", "limit", "listen", "source", "unknown"}

func newMetrics() *metrics {
	m := &metrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kube_ipvs_localhost_connections_total", Help: "Connections and UDP flows from loopback addresses to node ports that the relay has taken.",
		}, []string{"protocol"}),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kube_ipvs_localhost_connections", Help: "Connections and UDP flows from loopback addresses to node ports that are open.",
		}, []string{"protocol"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kube_ipvs_localhost_errors_total", Help: "Connections and datagrams from loopback addresses to node ports that were not relayed.",
		}, []string{"cause"}),
	}
	for _, p := range []string{"tcp", "udp"} {
		m.total.WithLabelValues(p)
		m.open.WithLabelValues(p)
	}
	for _, c := range causes {
		m.errors.WithLabelValues(c)
	}
	return m
}

// began counts a connection of a protocol, and returns a function that counts its end.
func (m *metrics) began(protocol string) (ended func()) {
	m.total.WithLabelValues(protocol).Inc()
	open := m.open.WithLabelValues(protocol)
	open.Inc()
	return open.Dec
}

func (m *metrics) failed(cause string) { m.errors.WithLabelValues(cause).Inc() }

// Describe is part of prometheus.Collector.
func (r *Relay) Describe(ch chan<- *prometheus.Desc) {
	r.metrics.total.Describe(ch)
	r.metrics.open.Describe(ch)
	r.metrics.errors.Describe(ch)
}

// Collect is part of prometheus.Collector.
func (r *Relay) Collect(ch chan<- prometheus.Metric) {
	r.metrics.total.Collect(ch)
	r.metrics.open.Collect(ch)
	r.metrics.errors.Collect(ch)
}
