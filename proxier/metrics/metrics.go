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
	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/proxier/report"
)

// Config is what Metrics must be told. All is needed; the functions are called
// at each scrape, from any goroutine.
type Config struct {
	Version  string
	Families []corev1.IPFamily     // that the node serves
	Backlog  func() report.Backlog // what is not programmed yet
	Healthy  func() bool           // as Health.Healthy
	Ready    func() (bool, string) // as Health.Ready
}

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

// Register adds other collectors, such as those of package traffic. The error is
// of those that are there already or are inconsistent; the rest are added.
func (m *Metrics) Register(all ...prometheus.Collector) error {
	var errs []error
	for _, c := range all {
		errs = append(errs, m.registry.Register(c))
	}
	return errors.Join(errs...)
}

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
