package metrics

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/client-go/tools/metrics"

	"kube-ipvs/proxier/health"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
	"kube-ipvs/proxier/traffic"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// newMetrics returns the Metrics of a daemon with probes, and the backlog that both see.
func newMetrics(t *testing.T, version string) (*Metrics, *health.Health, *report.Backlog) {
	t.Helper()
	b, families := &report.Backlog{}, state.Families(true)
	backlog := func() report.Backlog { return *b }
	h := health.New(health.Config{Families: families, SyncPeriod: 30 * time.Second, Backlog: backlog, Stuck: func() time.Duration { return 0 }})
	m := New(Config{Version: version, Families: families, Backlog: backlog, Healthy: h.Healthy, Ready: h.Ready})
	if err := m.Register(h.Answers()...); err != nil {
		t.Fatal(err)
	}
	return m, h, b
}

// gather returns the metric families by name.
func gather(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	all, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*dto.MetricFamily{}
	for _, f := range all {
		out[f.GetName()] = f
	}
	return out
}

// value returns a series as a number; of a histogram count and sum.
func value(t *testing.T, m *Metrics, series string) string {
	t.Helper()
	name, rest, _ := strings.Cut(series, "{")
	want := strings.TrimSuffix(rest, "}")
	f := gather(t, m)[name]
	for _, x := range f.GetMetric() {
		if labelsOf(x) != want {
			continue
		}
		switch f.GetType() {
		case dto.MetricType_COUNTER:
			return fmt.Sprint(x.GetCounter().GetValue())
		case dto.MetricType_GAUGE:
			return fmt.Sprint(x.GetGauge().GetValue())
		}
		h := x.GetHistogram()
		return fmt.Sprintf("%d/%g", h.GetSampleCount(), math.Round(h.GetSampleSum()*1e6)/1e6)
	}
	return "absent"
}

func expectValues(t *testing.T, m *Metrics, when string, want map[string]string) {
	t.Helper()
	for series, w := range want {
		if got := value(t, m, series); got != w {
			t.Errorf("%s: %s is %s, want %s", when, series, got, w)
		}
	}
}

func labelsOf(x *dto.Metric) string {
	var l []string
	for _, p := range x.GetLabel() {
		l = append(l, p.GetName()+"="+p.GetValue())
	}
	return strings.Join(l, ",")
}

// What kube-proxy's dashboards and alerts ask for. The list is written by hand
// from kube-proxy's reference of metrics.
func TestKubeProxyNames(t *testing.T) {
	const doubling = "0.001 0.002 0.004 0.008 0.016 0.032 0.064 0.128 0.256 0.512 1.024 2.048 4.096 8.192 16.384"
	programming := "0.25 0.5"
	for s := 1; s < 60; s++ {
		programming += fmt.Sprint(" ", s)
	}
	programming += " 60 65 70 75 80 85 90 95 100 105 110 115 120 150 180 210 240 270 300"
	const client = "0.005 0.025 0.1 0.25 0.5 1 2 4 8 15 30 60"
	want := map[string]shape{
		"kubeproxy_sync_proxy_rules_duration_seconds":                {dto.MetricType_HISTOGRAM, "ip_family", doubling},
		"kubeproxy_sync_proxy_rules_last_timestamp_seconds":          {dto.MetricType_GAUGE, "ip_family", ""},
		"kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds":   {dto.MetricType_GAUGE, "ip_family", ""},
		"kubeproxy_network_programming_duration_seconds":             {dto.MetricType_HISTOGRAM, "ip_family", programming},
		"kubeproxy_sync_proxy_rules_endpoint_changes_pending":        {dto.MetricType_GAUGE, "", ""},
		"kubeproxy_sync_proxy_rules_endpoint_changes_total":          {dto.MetricType_COUNTER, "", ""},
		"kubeproxy_sync_proxy_rules_service_changes_pending":         {dto.MetricType_GAUGE, "", ""},
		"kubeproxy_sync_proxy_rules_service_changes_total":           {dto.MetricType_COUNTER, "", ""},
		"kubeproxy_sync_proxy_rules_no_local_endpoints_total":        {dto.MetricType_GAUGE, "ip_family traffic_policy", ""},
		"kubeproxy_sync_proxy_rules_iptables_restore_failures_total": {dto.MetricType_COUNTER, "ip_family", ""},
		"kubeproxy_proxy_healthz_total":                              {dto.MetricType_COUNTER, "code", ""},
		"kubeproxy_proxy_livez_total":                                {dto.MetricType_COUNTER, "code", ""},
		"kubeproxy_conntrack_reconciler_deleted_entries_total":       {dto.MetricType_COUNTER, "ip_family", ""},
		"kubeproxy_conntrack_reconciler_sync_duration_seconds":       {dto.MetricType_HISTOGRAM, "ip_family", doubling},
		"rest_client_requests_total":                                 {dto.MetricType_COUNTER, "code host method", ""},
		"rest_client_request_duration_seconds":                       {dto.MetricType_HISTOGRAM, "host verb", client},
	}
	m, _, _ := newMetrics(t, "v1")
	metrics.RequestResult.Increment(t.Context(), "200", "GET", "10.96.0.1:443")
	metrics.RequestLatency.Observe(t.Context(), "GET", url.URL{Scheme: "https", Host: "10.96.0.1:443", Path: "/api"}, time.Second)
	have := gather(t, m)
	for name, f := range have {
		if strings.HasPrefix(name, "kubeproxy_") || strings.HasPrefix(name, "rest_client_") {
			if _, ok := want[name]; !ok {
				t.Errorf("%s is not kube-proxy's", name)
			}
			if f.GetHelp() == "" {
				t.Errorf("%s has no help", name)
			}
		}
	}
	for name, w := range want {
		w.check(t, name, have[name])
	}
}

// shape is how a metric looks to those who ask for it.
type shape struct {
	kind            dto.MetricType
	labels, buckets string
}

func (w shape) check(t *testing.T, name string, f *dto.MetricFamily) {
	t.Helper()
	if f == nil || f.GetType() != w.kind {
		t.Errorf("%s is %v, want %s", name, f, w.kind)
		return
	}
	for _, x := range f.GetMetric() {
		var labels, buckets []string
		for _, l := range x.GetLabel() {
			labels = append(labels, l.GetName())
		}
		for _, b := range x.GetHistogram().GetBucket() {
			if !math.IsInf(b.GetUpperBound(), 1) {
				buckets = append(buckets, fmt.Sprint(b.GetUpperBound()))
			}
		}
		if got := strings.Join(labels, " "); got != w.labels {
			t.Errorf("%s has labels %s, want %s", name, got, w.labels)
		}
		if got := strings.Join(buckets, " "); got != w.buckets {
			t.Errorf("%s has buckets %s\nwant %s", name, got, w.buckets)
		}
	}
}

// lintExceptions are kube-proxy's own names.
var lintExceptions = map[string]string{
	"kubeproxy_sync_proxy_rules_no_local_endpoints_total": "a gauge that ends in _total",
}

func TestLint(t *testing.T) {
	m, _, _ := newMetrics(t, "v1")
	n := newNode()
	if err := m.Register(traffic.NewCollector(&traffic.Reader{Counters: n, Names: n, Endpoints: true}, 0, quiet()), traffic.NewTablesCollector(n, n.config, n, 0, quiet())); err != nil {
		t.Fatal(err)
	}
	m.Observe(fullRound(time.Now()))
	var all []*dto.MetricFamily
	for _, f := range gather(t, m) {
		all = append(all, f)
	}
	problems, err := promlint.NewWithMetricFamilies(all).Lint()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, p := range problems {
		if lintExceptions[p.Metric] == "" {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
		used[p.Metric] = true
	}
	for name := range lintExceptions {
		if !used[name] {
			t.Errorf("%s needs no exception", name)
		}
	}
}

// fullRound returns a round of which everything is set.
func fullRound(started time.Time) *report.Round {
	r := &report.Round{
		Number: 1, Started: started, Took: 2 * time.Second, Queued: started.Add(-time.Second), Changes: report.Changes{Services: 3, Slices: 4},
		Full: true, Retried: 5, Draining: 6, Drains: []report.Drain{{Since: started.Add(-time.Minute)}, {Since: started}}, Known: report.Known{Services: 12, Slices: 13}, Objects: map[string]int{"virtual server": 7, "rules": 2},
		Ops:      map[report.Write]int{{Verb: "add", Kind: "virtual server"}: 10},
		Flows:    report.Flows{Waiting: 2, Since: started.Add(-5 * time.Second)},
		Failing:  report.Failing{Node: 2, Object: 3, Foreign: 1, Blocked: 4, Since: started, First: "x"},
		Problems: make([]model.Problem, 8), Triggers: []time.Time{started.Add(time.Second), started.Add(-time.Hour), started.Add(time.Hour)},
		NoLocal: map[report.Locality]int{{Policy: "internal", Family: state.IPv4}: 9, {Policy: "external", Family: state.IPv6}: 11},
		Drift:   []report.Drift{{ID: state.VIPID(netip.MustParseAddr("10.96.0.1")), What: "is gone"}},
		Failures: []report.Failure{
			{Op: state.Op{Verb: state.Change, ID: state.RulesID(state.IPv6)}, Err: errors.New("bad rule")},
			{Op: state.Op{Verb: state.Add, ID: state.SetID(state.SetAll, state.IPv4)}, Err: errors.New("no ipset")},
			{Op: state.Op{Verb: state.Add, ID: state.RulesID(state.IPv4)}, Err: errors.New("it waits")},
		},
	}
	r.Kernel.Messages, r.Kernel.Sends, r.Kernel.Errors, r.Kernel.Bytes, r.Kernel.Processes = 100, 20, 3, 4000, 2
	return r
}

func TestRoundAsMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, h, _ := newMetrics(t, "v1")
		time.Sleep(10 * time.Second)
		start := time.Now()
		at := func(d time.Duration) string { return fmt.Sprint(seconds(start.Add(d))) }
		observe := func(r *report.Round) { h.Observe(r); m.Observe(r) }
		expect := func(when string, want map[string]string) { t.Helper(); expectValues(t, m, when, want) }
		expect("at the start", map[string]string{
			"kube_ipvs_rounds_total{full=true}": "0", "kube_ipvs_ready": "0", "kube_ipvs_healthy": "1",
			"kube_ipvs_objects{kind=virtual_server}": "0", "kube_ipvs_failing_writes{cause=node}": "0", "kube_ipvs_drift_repaired_total{kind=vip}": "0",
			"kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=IPv4}":          "0",
			"kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=IPv4}":   "0",
			"kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family=IPv6}": "0",
			"kube_ipvs_last_audit_timestamp_seconds":                                     "0",
			"kube_ipvs_last_audit_age_seconds":                                           "10",
		})
		observe(fullRound(start))
		time.Sleep(2 * time.Second)
		expect("after a round", map[string]string{
			"kube_ipvs_rounds_total{full=true}": "1", "kube_ipvs_rounds_total{full=false}": "0",
			"kube_ipvs_round_duration_seconds": "1/2", "kube_ipvs_programming_duration_seconds": "1/3",
			"kube_ipvs_writes_total{kind=virtual_server,result=ok,verb=add}": "10", "kube_ipvs_writes_total{kind=rules,result=failed,verb=change}": "1",
			"kube_ipvs_plan_writes":                  "1/13",
			"kube_ipvs_objects{kind=virtual_server}": "7", "kube_ipvs_objects{kind=rules}": "2", "kube_ipvs_objects{kind=vip}": "0",
			"kube_ipvs_failing_writes{cause=node}": "2", "kube_ipvs_failing_writes{cause=object}": "3",
			"kube_ipvs_failing_writes{cause=foreign}": "1", "kube_ipvs_failing_writes{cause=blocked}": "4",
			"kube_ipvs_retries_total": "5", "kube_ipvs_audits_total": "1", "kube_ipvs_drift_repaired_total{kind=vip}": "1",
			"kube_ipvs_last_audit_timestamp_seconds": at(2 * time.Second), "kube_ipvs_last_audit_age_seconds": "0",
			"kube_ipvs_netlink_messages_total": "100", "kube_ipvs_netlink_sends_total": "20", "kube_ipvs_netlink_errors_total": "3",
			"kube_ipvs_netlink_bytes_total": "4000", "kube_ipvs_processes_started_total": "2",
			"kube_ipvs_draining_real_servers": "6", "kube_ipvs_problems": "8", "kube_ipvs_ready": "1",
			"kube_ipvs_oldest_drain_age_seconds":                          "62",
			"kube_ipvs_followed_objects{kind=service}":                    "12",
			"kube_ipvs_followed_objects{kind=endpoint_slice}":             "13",
			"kubeproxy_sync_proxy_rules_duration_seconds{ip_family=IPv4}": "1/2", "kubeproxy_sync_proxy_rules_duration_seconds{ip_family=IPv6}": "1/2",
			// One trigger was before the start of the process; one is of a clock that is ahead.
			"kubeproxy_network_programming_duration_seconds{ip_family=IPv4}":                              "2/1",
			"kubeproxy_sync_proxy_rules_service_changes_total":                                            "3",
			"kubeproxy_sync_proxy_rules_endpoint_changes_total":                                           "4",
			"kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=IPv4,traffic_policy=internal}": "9",
			"kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=IPv6,traffic_policy=external}": "11",
			"kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=IPv6,traffic_policy=internal}": "0",
			"kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family=IPv6}":                  "1",
			"kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family=IPv4}":                  "0", // it waited for a set
			"kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=IPv4}":                           "0", // a write fails
			"kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=IPv4}":                    at(-time.Second),
			"kubeproxy_conntrack_reconciler_sync_duration_seconds{ip_family=IPv6}":                        "0/0",
			"kube_ipvs_conntrack_oldest_wait_age_seconds":                                                 "7",
		})
		m.ObserveSweep(&report.Sweep{Family: state.IPv6, Took: 3 * time.Second, Deleted: 17})
		expect("after a sweep", map[string]string{
			"kubeproxy_conntrack_reconciler_sync_duration_seconds{ip_family=IPv6}": "1/3",
			"kubeproxy_conntrack_reconciler_sync_duration_seconds{ip_family=IPv4}": "0/0",
			"kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=IPv6}": "17",
			"kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=IPv4}": "0",
			"kube_ipvs_conntrack_oldest_wait_age_seconds":                          "0",
		})
	})
}

// An aborted round programs nothing: what it took counts later, and what it
// could not learn stays as it was.
func TestAbortedRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, h, b := newMetrics(t, "v1")
		observe := func(r *report.Round) { h.Observe(r); m.Observe(r) }
		expect := func(when string, want map[string]string) { t.Helper(); expectValues(t, m, when, want) }
		observe(fullRound(time.Now()))
		time.Sleep(2 * time.Second)
		aborted := time.Now()
		observe(&report.Round{Started: aborted, Took: time.Second, Queued: aborted, Changes: report.Changes{Services: 1}, Full: true, Err: errors.New("no netlink")})
		*b = report.Backlog{Changes: report.Changes{Services: 1, Slices: 2}, Since: aborted}
		time.Sleep(time.Minute)
		expect("after an aborted round", map[string]string{
			"kube_ipvs_rounds_total{full=true}": "2", "kube_ipvs_audits_total": "1", "kube_ipvs_objects{kind=virtual_server}": "7",
			"kube_ipvs_last_audit_age_seconds": "60", "kube_ipvs_draining_real_servers": "6", "kube_ipvs_failing_writes{cause=node}": "2",
			"kube_ipvs_programming_duration_seconds": "1/3", "kube_ipvs_healthy": "0", "kube_ipvs_ready": "1",
			"kubeproxy_sync_proxy_rules_duration_seconds{ip_family=IPv4}":                                 "2/3",
			"kubeproxy_sync_proxy_rules_service_changes_total":                                            "4",
			"kubeproxy_sync_proxy_rules_service_changes_pending":                                          "1",
			"kubeproxy_sync_proxy_rules_endpoint_changes_pending":                                         "2",
			"kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=IPv4,traffic_policy=internal}": "9",
			"kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=IPv6}":                    fmt.Sprint(seconds(aborted)),
		})
		*b = report.Backlog{}
		later := time.Now()
		observe(&report.Round{Started: later, Took: time.Second, Queued: later})
		expect("after a good round", map[string]string{
			"kube_ipvs_programming_duration_seconds": "2/64", // since the aborted round's change came in
			"kube_ipvs_objects{kind=virtual_server}": "0", "kube_ipvs_healthy": "1", "kube_ipvs_rounds_total{full=false}": "1",
			"kube_ipvs_oldest_drain_age_seconds":                                                          "0",
			"kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=IPv6}":                           fmt.Sprint(seconds(later.Add(time.Second))),
			"kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=IPv4,traffic_policy=internal}": "0",
		})
		time.Sleep(time.Minute)
		observe(&report.Round{Started: time.Now(), Unread: errors.New("no netlink")})
		expect("after a round that wrote while the kernel could not be read", map[string]string{
			"kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=IPv6}": fmt.Sprint(seconds(later.Add(time.Second))),
		})
	})
}

// Every histogram has both forms, and the client chooses the format.
func TestFormats(t *testing.T) {
	m, _, _ := newMetrics(t, "v1.2.3")
	m.Observe(fullRound(time.Now()))
	for name, f := range gather(t, m) {
		if f.GetType() != dto.MetricType_HISTOGRAM || strings.HasPrefix(name, "go_") {
			continue
		}
		for _, x := range f.GetMetric() {
			if x.GetHistogram().Schema == nil || len(x.GetHistogram().GetBucket()) == 0 {
				t.Errorf("%s lacks a form", name)
			}
		}
	}
	for accept, kind := range map[string]string{
		"": "text/plain",
		"application/openmetrics-text;version=1.0.0":                                                 "application/openmetrics-text",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited": "application/vnd.google.protobuf",
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", accept)
		m.Handler(quiet()).ServeHTTP(w, r)
		if got := w.Header().Get("Content-Type"); w.Code != 200 || !strings.HasPrefix(got, kind) {
			t.Errorf("Accept %q: %d %s", accept, w.Code, got)
		}
		body := w.Body.String()
		if kind == "text/plain" {
			for _, want := range []string{`kube_ipvs_build_info{goversion="go`, `version="v1.2.3"} 1`, "go_goroutines ", "process_start_time_seconds "} {
				if !strings.Contains(body, want) {
					t.Errorf("text lacks %s", want)
				}
			}
		}
		if strings.Contains(body, " # {") {
			t.Error("there are exemplars")
		}
	}
}
