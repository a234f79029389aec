package metrics

import (
	"context"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/metrics"
)

// clientMetrics returns the collectors of requests to the API server, with the names
// that Kubernetes components use. client-go takes one set a process: all registries share it.
var clientMetrics = sync.OnceValue(func() []prometheus.Collector {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rest_client_requests_total", Help: "Requests to the API server, by HTTP status.",
	}, []string{"code", "method", "host"})
	latency := prometheus.NewHistogramVec(histogram("rest_client_request_duration_seconds",
		"Duration of requests to the API server.", []float64{.005, .025, .1, .25, .5, 1, 2, 4, 8, 15, 30, 60}), []string{"verb", "host"})
	metrics.Register(metrics.RegisterOpts{RequestResult: clientRequests{requests}, RequestLatency: clientLatency{latency}})
	return []prometheus.Collector{requests, latency}
})

type clientRequests struct{ *prometheus.CounterVec }

func (c clientRequests) Increment(_ context.Context, code, method, host string) {
	c.WithLabelValues(code, method, host).Inc()
}

type clientLatency struct{ *prometheus.HistogramVec }

func (c clientLatency) Observe(_ context.Context, verb string, u url.URL, took time.Duration) {
	c.WithLabelValues(verb, u.Host).Observe(took.Seconds())
}
