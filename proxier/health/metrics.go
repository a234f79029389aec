package health

import (
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"kube-ipvs/proxier/report"
)

// Metrics counts what Rounds did. It has a registry of its own, with the
// metrics of the Go runtime, of the process and of API requests in it. Its
// methods may be called from any goroutine.
type Metrics struct {
	registry *prometheus.Registry

	mu        sync.Mutex
	kubeProxy *kubeProxyMetrics
	own       *ownMetrics
	queued    time.Time // when the oldest change came in that only aborted rounds have taken; zero: none
}

// NewMetrics returns the Metrics of a proxy whose Health is h.
func NewMetrics(h *Health, version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "kube_ipvs_build_info", Help: "Always 1; the labels say which program runs.",
	}, []string{"version", "goversion"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		build, h.healthz, h.livez,
	)
	m.registry.MustRegister(clientMetrics()...)
	m.kubeProxy = newKubeProxyMetrics(m.registry, h)
	m.own = newOwnMetrics(m.registry, h)
	return m
}

// Register adds another collector, such as NewTrafficCollector's. The error is
// of one that is there already or is inconsistent.
func (m *Metrics) Register(c prometheus.Collector) error { return m.registry.Register(c) }

// ObserveSweep counts a sweep of conntrack. It returns at once.
func (m *Metrics) ObserveSweep(s *report.Sweep) {
	m.kubeProxy.observeSweep(s)
	m.own.observeFlows(s.Flows)
}

// Observe counts a round. It returns at once.
func (m *Metrics) Observe(r *report.Round) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// What an aborted round took, a later one programs.
	queued := m.queued
	if queued.IsZero() {
		queued = r.Queued
	}
	m.kubeProxy.observe(r)
	m.own.observe(r, queued)
	m.queued = time.Time{}
	if r.Err != nil {
		m.queued = queued
	}
}

// Handler serves the metrics as text, OpenMetrics or protobuf, as the client
// likes. Scrapes at the same time share one collection.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError), ErrorHandling: promhttp.ContinueOnError,
		EnableOpenMetrics: true, CoalesceGather: true,
	})
}

// end returns when a round ended.
func end(r *report.Round) time.Time { return r.Started.Add(r.Took) }

// histogram returns options with buckets for text scrapes, and the native form
// for those who can read it.
func histogram(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}
}

// seconds returns t as metrics have it; 0 for the zero time.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
