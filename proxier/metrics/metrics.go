package metrics

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Config configures Metrics. Each field must be set. Each scrape calls the functions,
// from any goroutine.
type Config struct {
	Version  string
	Families []state.Family        // address families that the node serves
	Backlog  func() report.Backlog // changes that are not programmed yet
	Healthy  func() bool           // as Health.Healthy
	Ready    func() (bool, string) // as Health.Ready
}

// Metrics counts the rounds of the loop. Its registry also has the metrics of the Go
// runtime, of the process and of API requests. Any goroutine may call its methods.
type Metrics struct {
	registry *prometheus.Registry

	mu        sync.Mutex
	kubeProxy *kubeProxyMetrics
	own       *ownMetrics
	queued    time.Time // arrival of the oldest change that only aborted rounds have taken; zero: none
}

// New returns the Metrics of a proxy that has done nothing yet.
func New(c Config) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(clientMetrics()...)
	to := maker{promauto.With(m.registry)}
	to.gauges("kube_ipvs_build_info", "Always 1; the labels say which program runs.", "version", "goversion").WithLabelValues(c.Version, runtime.Version()).Set(1)
	m.kubeProxy = newKubeProxyMetrics(to, &c)
	m.own = newOwnMetrics(to, &c)
	return m
}

// Register adds other collectors, such as those of package traffic. The error names
// the collectors that are registered already or are inconsistent; it adds the others.
func (m *Metrics) Register(all ...prometheus.Collector) error {
	var errs []error
	for _, c := range all {
		errs = append(errs, m.registry.Register(c))
	}
	return errors.Join(errs...)
}

// ObserveSweep counts a sweep of conntrack. It does not block.
func (m *Metrics) ObserveSweep(s *report.Sweep) {
	m.kubeProxy.observeSweep(s)
	m.own.observeFlows(s.Flows)
}

// Observe counts a round. It does not block.
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

// Handler serves the metrics as text, OpenMetrics or protobuf, as the client asks.
// Concurrent scrapes share one collection.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError), ErrorHandling: promhttp.ContinueOnError,
		EnableOpenMetrics: true, CoalesceGather: true,
	})
}

// end returns when a round ended.
func end(r *report.Round) time.Time { return r.Started.Add(r.Took) }

// seconds returns t in Unix time; 0 for the zero time.
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
