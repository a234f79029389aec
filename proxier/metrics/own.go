package metrics

import (
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// ownMetrics are the metrics for which kube-proxy has no name.
type ownMetrics struct {
	rounds      *prometheus.CounterVec
	took        prometheus.Histogram
	programming prometheus.Histogram
	writes      *prometheus.CounterVec
	planWrites  prometheus.Histogram
	objects     *prometheus.GaugeVec
	failing     *prometheus.GaugeVec
	retries     prometheus.Counter
	audits      prometheus.Counter
	givenUp     prometheus.Counter
	drift       *prometheus.CounterVec
	messages    prometheus.Counter
	sends       prometheus.Counter
	errors      prometheus.Counter
	bytes       prometheus.Counter
	processes   prometheus.Counter
	draining    prometheus.Gauge
	ejected     prometheus.Gauge
	ejections   prometheus.Counter
	known       *prometheus.GaugeVec
	flows       moment // since when the first frontend waits for a sweep of conntrack; zero: none waits
	drains      moment // since when the oldest drain lasts; zero: none
	problems    prometheus.Gauge
	lastAudit   moment // its end; zero: none yet
}

// fineBuckets reach from a millisecond to a minute.
var fineBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// writeBuckets distinguish an idle round, a change and a start.
var writeBuckets = []float64{0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000, 300000}

func newOwnMetrics(to maker, c *Config) *ownMetrics {
	o := &ownMetrics{
		rounds:      to.counters("kube_ipvs_rounds_total", "Rounds of the loop. With full=true a round compared every object with the kernel.", "full"),
		took:        to.histogram("kube_ipvs_round_duration_seconds", "Duration of rounds of the loop.", fineBuckets),
		programming: to.histogram("kube_ipvs_programming_duration_seconds", "Time from the arrival of a round's oldest change to the end of the round that programmed it.", fineBuckets),
		writes:      to.counters("kube_ipvs_writes_total", "Writes to the kernel.", "verb", "kind", "result"),
		planWrites:  to.histogram("kube_ipvs_plan_writes", "Writes that a round tried.", writeBuckets),
		objects:     to.gauges("kube_ipvs_objects", "kube-ipvs's objects in the kernel: those of the last full read, and the writes since.", "kind"),
		failing:     to.gauges("kube_ipvs_failing_writes", "Writes that have failed and not succeeded since, by cause. node: the node cannot do the write; object: the kernel refuses the value of the object; foreign: an object or lock of another program is in the way; blocked: the write waits for another object.", "cause"),
		retries:     to.counter("kube_ipvs_retries_total", "Failed writes that the loop tried again."),
		audits:      to.counter("kube_ipvs_audits_total", "Audits that succeeded. An audit reads the kernel and compares every object."),
		givenUp:     to.counter("kube_ipvs_audits_given_up_total", "Audits that the loop gave up after two minutes without a result."),
		drift:       to.counters("kube_ipvs_drift_repaired_total", "Objects that another program had changed, and that the loop repaired.", "kind"),
		messages:    to.counter("kube_ipvs_netlink_messages_total", "Requests to the kernel over netlink."),
		sends:       to.counter("kube_ipvs_netlink_sends_total", "System calls that carried netlink requests."),
		errors:      to.counter("kube_ipvs_netlink_errors_total", "Netlink requests that the kernel refused."),
		bytes:       to.counter("kube_ipvs_netlink_bytes_total", "Bytes sent to the kernel over netlink."),
		processes:   to.counter("kube_ipvs_processes_started_total", "Processes that kube-ipvs started, such as iptables-restore."),
		draining:    to.gauge("kube_ipvs_draining_real_servers", "Removed endpoints that drain: they keep their connections and get no new ones."),
		ejected:     to.gauge("kube_ipvs_ejected_endpoints", "Endpoints of Services with the annotation kube-ipvs/eject-after that get no new connections, since they do not answer. An endpoint of two such Services counts twice."),
		ejections:   to.counter("kube_ipvs_ejections_total", "Times that an endpoint was ejected."),
		known:       to.gauges("kube_ipvs_followed_objects", "Objects that the proxy follows. All nodes of a cluster have the same number, soon after a change.", "kind"),
		problems:    to.gauge("kube_ipvs_problems", "Faults of Services, EndpointSlices and other source objects."),
	}
	o.start()
	to.gaugeOf("kube_ipvs_oldest_drain_age_seconds", "How long the oldest drain has lasted, counted from the start of this process at the earliest; 0: no endpoint drains.", func() float64 { return ageOf(&o.drains) })
	to.gaugeOf("kube_ipvs_conntrack_oldest_wait_age_seconds", "How long the first frontend has waited for a sweep of its conntrack entries; 0: no frontend waits.", func() float64 { return ageOf(&o.flows) })
	to.gaugeOf("kube_ipvs_last_audit_timestamp_seconds", "End of the last audit, in Unix time; 0 before the first.", func() float64 { return seconds(o.lastAudit.get()) })
	to.gaugeOf("kube_ipvs_last_audit_age_seconds", "Time since the last audit ended; before the first, time since the start.", age(o.lastAudit.get))
	to.gaugeOf("kube_ipvs_ready", "1 once all objects of the first sync are programmed, else 0: as /readyz.", func() float64 { ready, _ := c.Ready(); return boolean(ready) })
	to.gaugeOf("kube_ipvs_healthy", "1 if the proxy keeps up, else 0: as /healthz, without the state of the Node object.", func() float64 { return boolean(c.Healthy()) })
	return o
}

// start makes the series of all known labels, so that the first scrape has them.
func (o *ownMetrics) start() {
	for k := state.Setting; k < state.Flow; k++ {
		o.objects.WithLabelValues(label(k.String()))
		o.drift.WithLabelValues(label(k.String()))
	}
	for _, full := range []string{"true", "false"} {
		o.rounds.WithLabelValues(full)
	}
	for _, kind := range []string{kindService, kindSlice} {
		o.known.WithLabelValues(kind)
	}
	for _, c := range state.Causes() {
		o.failing.WithLabelValues(string(c))
	}
}

const (
	resultOK     = "ok"
	resultFailed = "failed"
	kindService  = "service"
	kindSlice    = "endpoint_slice"
)

// observe counts a round whose oldest change came in at queued.
func (o *ownMetrics) observe(r *report.Round, queued time.Time) {
	o.rounds.WithLabelValues(strconv.FormatBool(r.Full || r.Audited)).Inc()
	o.took.Observe(r.Took.Seconds())
	o.messages.Add(float64(r.Kernel.Messages))
	o.sends.Add(float64(r.Kernel.Sends))
	o.errors.Add(float64(r.Kernel.Errors))
	o.bytes.Add(float64(r.Kernel.Bytes))
	o.processes.Add(float64(r.Kernel.Processes))
	o.problems.Set(float64(len(r.Problems)))
	if r.GivenUp {
		o.givenUp.Inc()
	}
	o.observeFlows(r.Flows)
	o.ejections.Add(float64(r.Ejections))
	if r.Err != nil {
		return // an aborted round writes and compares nothing
	}
	o.observeWrites(r)
	if !queued.IsZero() {
		o.programming.Observe(max(end(r).Sub(queued), 0).Seconds())
	}
	if r.Full || r.Audited {
		o.audits.Inc()
		o.lastAudit.set(end(r))
	}
	for _, d := range r.Drift {
		o.drift.WithLabelValues(label(d.ID.Kind.String())).Inc()
	}
	o.ejected.Set(float64(r.Ejected))
	o.draining.Set(float64(r.Draining))
	o.drains.set(time.Time{})
	if len(r.Drains) > 0 {
		o.drains.set(r.Drains[0].Since)
	}
	o.known.WithLabelValues(kindService).Set(float64(r.Known.Services))
	o.known.WithLabelValues(kindSlice).Set(float64(r.Known.Slices))
	for k := state.Setting; k < state.Flow; k++ {
		o.objects.WithLabelValues(label(k.String())).Set(float64(r.Objects[k.String()]))
	}
}

func (o *ownMetrics) observeFlows(f report.Flows) { o.flows.set(f.Since) }

func (o *ownMetrics) observeWrites(r *report.Round) {
	for w, n := range r.Ops {
		o.writes.WithLabelValues(w.Verb, label(w.Kind), resultOK).Add(float64(n))
	}
	for _, f := range r.Failures {
		o.writes.WithLabelValues(f.Op.Verb.String(), label(f.Op.ID.Kind.String()), resultFailed).Inc()
	}
	o.planWrites.Observe(float64(r.Writes() + len(r.Failures)))
	o.retries.Add(float64(r.Retried))
	for _, c := range state.Causes() {
		o.failing.WithLabelValues(string(c)).Set(float64(r.Failing.Count(c)))
	}
}

// ageOf returns the seconds since at; 0 if at is not set.
func ageOf(at *moment) float64 {
	since := at.get()
	if since.IsZero() {
		return 0
	}
	return max(time.Since(since), 0).Seconds()
}

// moment is a time for several goroutines. It keeps the monotonic reading, which a
// number would lose: the node's clock may jump by hours.
type moment struct{ at atomic.Pointer[time.Time] }

func (m *moment) set(at time.Time) { m.at.Store(&at) }

func (m *moment) get() time.Time {
	if at := m.at.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// age returns a function for the seconds since at, or since the call of age while at is zero.
func age(at func() time.Time) func() float64 {
	started := time.Now()
	return func() float64 {
		t := at()
		if t.IsZero() {
			t = started
		}
		return max(time.Since(t), 0).Seconds()
	}
}

// label returns the label value of a kind.
func label(kind string) string { return strings.ReplaceAll(kind, " ", "_") }
