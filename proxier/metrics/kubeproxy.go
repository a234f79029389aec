package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// kubeProxyMetrics are those of kube-proxy's IPVS mode, by its names, so that its
// dashboards and alerts go on. One loop serves both families: a metric that does not
// differ by family has the same value for both values of ip_family.
type kubeProxyMetrics struct {
	families []state.Family
	since    time.Time // triggers before it were another process's to program
	syncs    *prometheus.HistogramVec
	last     *prometheus.GaugeVec
	latency  *prometheus.HistogramVec
	services prometheus.Counter
	slices   prometheus.Counter
	noLocal  *prometheus.GaugeVec
	restores *prometheus.CounterVec
	sweeps   *prometheus.HistogramVec
	deleted  *prometheus.CounterVec
	queued   *lastQueued
}

const (
	ipFamily     = "ip_family"
	policyLabel  = "traffic_policy"
	internalName = "internal"
	externalName = "external"
)

func newKubeProxyMetrics(to maker, c *Config) *kubeProxyMetrics {
	k := &kubeProxyMetrics{
		since:    time.Now(),
		syncs:    to.histograms("kubeproxy_sync_proxy_rules_duration_seconds", "Duration of rounds of the loop.", syncBuckets, ipFamily),
		last:     to.gauges("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "End of the last round after which no read and no write was failing by the node's fault, in Unix time. Without changes only audits cause rounds.", ipFamily),
		latency:  to.histograms("kubeproxy_network_programming_duration_seconds", "Time from the change of a Service or pod, by the annotation of its EndpointSlice, to the end of the round that programmed it.", programmingBuckets(), ipFamily),
		services: to.counter("kubeproxy_sync_proxy_rules_service_changes_total", "Changes of Services that rounds took in."),
		slices:   to.counter("kubeproxy_sync_proxy_rules_endpoint_changes_total", "Changes of EndpointSlices that rounds took in."),
		noLocal:  to.gauges("kubeproxy_sync_proxy_rules_no_local_endpoints_total", "Services with traffic policy Local that have endpoints on other nodes only.", policyLabel, ipFamily),
		restores: to.counters("kubeproxy_sync_proxy_rules_iptables_restore_failures_total", "Failures to write the iptables rules.", ipFamily),
		sweeps:   to.histograms("kubeproxy_conntrack_reconciler_sync_duration_seconds", "Duration of conntrack sweeps, which delete the entries of removed endpoints. No change waits for a sweep.", syncBuckets, ipFamily),
		deleted:  to.counters("kubeproxy_conntrack_reconciler_deleted_entries_total", "Conntrack entries that sweeps deleted.", ipFamily),
		queued:   &lastQueued{backlog: c.Backlog},
		families: c.Families,
	}
	for _, f := range c.Families {
		k.start(f.String(), to)
	}
	to.gaugeOf("kubeproxy_sync_proxy_rules_service_changes_pending", "Changes of Services that are not programmed yet.", func() float64 { return float64(c.Backlog().Services) })
	to.gaugeOf("kubeproxy_sync_proxy_rules_endpoint_changes_pending", "Changes of EndpointSlices that are not programmed yet.", func() float64 { return float64(c.Backlog().Slices) })
	return k
}

// start makes the series of a family, so that the first scrape has them.
func (k *kubeProxyMetrics) start(family string, to maker) {
	k.syncs.WithLabelValues(family)
	k.last.WithLabelValues(family)
	k.latency.WithLabelValues(family)
	k.restores.WithLabelValues(family)
	k.sweeps.WithLabelValues(family)
	k.deleted.WithLabelValues(family)
	k.noLocal.WithLabelValues(internalName, family)
	k.noLocal.WithLabelValues(externalName, family)
	to.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", ConstLabels: prometheus.Labels{ipFamily: family},
		Help: "When the newest changes began to wait for a round, in Unix time.",
	}, func() float64 { return seconds(k.queued.get()) })
}

func (k *kubeProxyMetrics) observe(r *report.Round) {
	k.services.Add(float64(r.Changes.Services))
	k.slices.Add(float64(r.Changes.Slices))
	k.queued.set(r.Queued)
	k.observeRestores(r)
	for _, family := range k.families {
		f := family.String()
		k.syncs.WithLabelValues(f).Observe(r.Took.Seconds())
		if r.Err != nil {
			continue
		}
		if r.Failing.Node == 0 && r.Unread == nil {
			k.last.WithLabelValues(f).Set(seconds(end(r)))
		}
		for _, t := range r.Triggers {
			if !t.Before(k.since) {
				k.latency.WithLabelValues(f).Observe(max(end(r).Sub(t), 0).Seconds())
			}
		}
		for _, policy := range []string{internalName, externalName} {
			k.noLocal.WithLabelValues(policy, f).Set(float64(r.NoLocal[report.Locality{Policy: policy, Family: family}]))
		}
	}
}

func (k *kubeProxyMetrics) observeSweep(s *report.Sweep) {
	family := s.Family.String()
	k.sweeps.WithLabelValues(family).Observe(s.Took.Seconds())
	k.deleted.WithLabelValues(family).Add(float64(s.Deleted))
}

// observeRestores counts failures to write rules. It does not count the rules of a
// family with a set that could not be made: they waited for the set and were not tried.
func (k *kubeProxyMetrics) observeRestores(r *report.Round) {
	waits := map[state.Family]bool{}
	for _, f := range r.Failures {
		if f.Op.ID.Kind == state.Set {
			waits[f.Op.ID.Family()] = true
		}
	}
	for _, f := range r.Failures {
		if id := f.Op.ID; id.Kind == state.Rules && !waits[id.Family()] {
			k.restores.WithLabelValues(id.Family().String()).Inc()
		}
	}
}

var syncBuckets = prometheus.ExponentialBuckets(0.001, 2, 15)

// programmingBuckets are fine below a minute, where the objective for network
// programming latency lies.
func programmingBuckets() []float64 {
	return slices.Concat([]float64{0.25, 0.5}, prometheus.LinearBuckets(1, 1, 59),
		prometheus.LinearBuckets(60, 5, 12), prometheus.LinearBuckets(120, 30, 7))
}
