package traffic

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"pgregory.net/rapid"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/metrics"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

type fakeTraffic struct {
	mu    sync.Mutex
	rows  []Row
	err   error
	reads int
	delay time.Duration
}

func (f *fakeTraffic) read(ctx context.Context) ([]Row, error) {
	f.mu.Lock()
	f.reads++
	rows, err, delay := f.rows, f.err, f.delay
	f.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return rows, err
}

// scrape collects c and returns the series by name and labels.
func scrape(t interface{ Fatal(...any) }, c prometheus.Collector) map[string]float64 {
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range all {
		for _, x := range f.GetMetric() {
			name := f.GetName()
			if l := labelsOf(x); l != "" {
				name += "{" + l + "}"
			}
			out[name] = x.GetCounter().GetValue() + x.GetGauge().GetValue()
		}
	}
	return out
}

// Levels of a collector.
const services, endpoints = false, true

func collect(f *fakeTraffic, level bool, rows int) *collector {
	return newCollector(f.read, level, rows, quiet())
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func labelsOf(x *dto.Metric) string {
	var l []string
	for _, p := range x.GetLabel() {
		l = append(l, p.GetName()+"="+p.GetValue())
	}
	return strings.Join(l, ",")
}

// row returns a whole row whose counters are multiples of n, of something in the kernel
// that only its names tell from others.
func row(service, endpoint string, n uint64) Row {
	hash := fnv.New32a()
	_, _ = io.WriteString(hash, service+"/"+endpoint)
	return Row{
		ServedPort: report.ServedPort{Key: model.Key{Namespace: "default", Name: service}, Port: "http", Whole: true}, Endpoint: endpoint,
		Of:      state.VIPID(netip.AddrFrom4([4]byte(hash.Sum(nil)))),
		Counted: kernel.Counted{Stats: ipvs.Stats{Connections: n, PacketsIn: 2 * n, PacketsOut: 3 * n, BytesIn: 4 * n, BytesOut: 5 * n}, Active: 6, Inactive: 7},
	}
}

// partial returns a row of which only the connections are known.
func partial(service, endpoint string, n uint64) Row {
	r := row(service, endpoint, 0)
	r.Whole, r.Counted = false, kernel.Counted{Stats: ipvs.Stats{Connections: n}}
	return r
}

func diff(t *testing.T, when string, got, want map[string]float64) {
	t.Helper()
	for k, v := range want {
		if g, ok := got[k]; !ok || g != v {
			t.Errorf("%s: %s is %v (there: %v), want %v", when, k, g, ok, v)
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s: %s is %v, want none", when, k, v)
		}
	}
}

func TestTrafficNames(t *testing.T) {
	f := &fakeTraffic{rows: []Row{row("web", "pod-1", 1), row("web", "pod-2", 10)}}
	svc := "namespace=default,port=http,service=web"
	want := map[string]float64{
		"kube_ipvs_service_connections_total{" + svc + "}": 11, "kube_ipvs_service_active_connections{" + svc + "}": 12, "kube_ipvs_service_inactive_connections{" + svc + "}": 14,
		"kube_ipvs_service_packets_total{direction=in," + svc + "}": 22, "kube_ipvs_service_packets_total{direction=out," + svc + "}": 33,
		"kube_ipvs_service_bytes_total{direction=in," + svc + "}": 44, "kube_ipvs_service_bytes_total{direction=out," + svc + "}": 55,
		"kube_ipvs_traffic_folded_rows{level=service}": 0, "kube_ipvs_traffic_read_errors_total": 0,
	}
	diff(t, "service", scrape(t, collect(f, services, 0)), want)
	for pod, n := range map[string]float64{"pod-1": 1, "pod-2": 10} {
		ep := "endpoint=" + pod + "," + svc
		for name, v := range map[string]float64{
			"kube_ipvs_endpoint_connections_total{" + ep + "}": n, "kube_ipvs_endpoint_active_connections{" + ep + "}": 6, "kube_ipvs_endpoint_inactive_connections{" + ep + "}": 7,
			"kube_ipvs_endpoint_packets_total{direction=in," + ep + "}": 2 * n, "kube_ipvs_endpoint_packets_total{direction=out," + ep + "}": 3 * n,
			"kube_ipvs_endpoint_bytes_total{direction=in," + ep + "}": 4 * n, "kube_ipvs_endpoint_bytes_total{direction=out," + ep + "}": 5 * n,
			"kube_ipvs_endpoint_weight{" + ep + "}": 0, "kube_ipvs_traffic_folded_rows{level=endpoint}": 0,
		} {
			want[name] = v
		}
	}
	diff(t, "endpoint", scrape(t, collect(f, endpoints, 0)), want)
}

// An endpoint has its weight, its limit if there is one, and why it takes less than its full
// part: also where it is not whole, and its standing also among the others.
func TestTrafficBalance(t *testing.T) {
	with := func(r Row, weight, limit uint32, standing state.Standing) Row {
		r.Weight, r.Upper, r.Standing = weight, limit, standing
		return r
	}
	again := with(partial("web", "pod-1", 50), 9, 100, state.AtLimit)
	again.Of = state.VIPID(netip.MustParseAddr("192.0.2.1")) // behind another frontend
	f := &fakeTraffic{rows: []Row{
		with(partial("web", "pod-1", 50), 7, 100, state.SlowStart), again, with(row("web", "pod-2", 20), 0, 0, state.Draining),
		with(row("web", "pod-3", 2), 0, 0, state.Draining), with(row("web", "pod-4", 1), 9, 100, ""),
	}}
	got := scrape(t, collect(f, endpoints, 2))
	for name := range got {
		if !strings.HasPrefix(name, "kube_ipvs_endpoint_weight") && !strings.HasPrefix(name, "kube_ipvs_endpoint_connections_limit") && !strings.HasPrefix(name, "kube_ipvs_endpoint_standing") {
			delete(got, name)
		}
	}
	diff(t, "balance", got, map[string]float64{
		"kube_ipvs_endpoint_weight{endpoint=pod-1,namespace=default,port=http,service=web}":                       9,
		"kube_ipvs_endpoint_weight{endpoint=pod-2,namespace=default,port=http,service=web}":                       0,
		"kube_ipvs_endpoint_connections_limit{endpoint=pod-1,namespace=default,port=http,service=web}":            200,
		"kube_ipvs_endpoint_standing{endpoint=pod-1,namespace=default,port=http,service=web,standing=slow_start}": 1,
		"kube_ipvs_endpoint_standing{endpoint=pod-1,namespace=default,port=http,service=web,standing=at_limit}":   1,
		"kube_ipvs_endpoint_standing{endpoint=pod-2,namespace=default,port=http,service=web,standing=draining}":   1,
		"kube_ipvs_endpoint_standing{endpoint=(others),namespace=,port=,service=(others),standing=draining}":      1,
	})
	f.rows = []Row{with(row("web", "pod-1", 50), 9, 0, "")}
	if got := scrape(t, collect(f, endpoints, 0)); got["kube_ipvs_endpoint_standing{endpoint=pod-1,namespace=default,port=http,service=web,standing=slow_start}"] != 0 {
		t.Error("a standing stays that has ended")
	}
}

// Where one row is not whole, its series have connections alone.
func TestTrafficNotWhole(t *testing.T) {
	unknown := row("web", "pod-1", 5)
	unknown.Whole = false
	f := &fakeTraffic{rows: []Row{unknown, row("web", "pod-2", 10), row("db", "pod-3", 1)}}
	got := scrape(t, collect(f, endpoints, 0))
	for series, there := range map[string]bool{
		"kube_ipvs_service_bytes_total{direction=in,namespace=default,port=http,service=web}":                 false,
		"kube_ipvs_service_active_connections{namespace=default,port=http,service=web}":                       false,
		"kube_ipvs_service_connections_total{namespace=default,port=http,service=web}":                        true,
		"kube_ipvs_service_bytes_total{direction=in,namespace=default,port=http,service=db}":                  true,
		"kube_ipvs_endpoint_bytes_total{direction=in,endpoint=pod-1,namespace=default,port=http,service=web}": false,
		"kube_ipvs_endpoint_bytes_total{direction=in,endpoint=pod-2,namespace=default,port=http,service=web}": true,
	} {
		if _, ok := got[series]; ok != there {
			t.Errorf("%s is there: %v", series, ok)
		}
	}
	if v := got["kube_ipvs_service_connections_total{namespace=default,port=http,service=web}"]; v != 15 {
		t.Errorf("connections %v", v)
	}
	// The others cannot be whole either.
	got = scrape(t, collect(f, services, 1))
	if _, ok := got["kube_ipvs_service_bytes_total{direction=in,namespace=,port=,service=(others)}"]; !ok {
		t.Errorf("db is whole: %v", got)
	}
	f.rows = append(f.rows, row("big", "pod-4", 1000))
	got = scrape(t, collect(f, services, 1))
	if _, ok := got["kube_ipvs_service_bytes_total{direction=in,namespace=,port=,service=(others)}"]; ok {
		t.Errorf("web is not whole: %v", got)
	}
	// Packets that are not known do not tell that a row has begun anew.
	c := collect(f, services, 0)
	f.rows = []Row{row("web", "pod-1", 5)}
	scrape(t, c)
	f.rows = []Row{partial("web", "pod-1", 6)}
	scrape(t, c)
	f.rows = []Row{row("web", "pod-1", 7)}
	got = scrape(t, c)
	if n, b := got["kube_ipvs_service_connections_total{namespace=default,port=http,service=web}"], got["kube_ipvs_service_bytes_total{direction=in,namespace=default,port=http,service=web}"]; n != 7 || b != 28 {
		t.Errorf("%v connections, %v bytes", n, b)
	}
}

func TestTrafficIsMonotonic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTraffic{}
		c := collect(f, endpoints, 0)
		const web = "kube_ipvs_service_connections_total{namespace=default,port=http,service=web}"
		const pod = "kube_ipvs_endpoint_connections_total{endpoint=pod-1,namespace=default,port=http,service=web}"
		const none = -1 // no such series
		step := func(what string, wantService, wantPod float64, rows ...Row) {
			t.Helper()
			f.rows = rows
			got := scrape(t, c)
			for series, want := range map[string]float64{web: wantService, pod: wantPod} {
				v, ok := got[series]
				if !ok {
					v = none
				}
				if v != want {
					t.Errorf("%s: %s is %v, want %v", what, series, v, want)
				}
			}
		}
		step("start", 300, 100, row("web", "pod-1", 100), row("web", "pod-2", 200))
		step("endpoint goes", 310, none, row("web", "pod-2", 210))
		step("it comes back", 315, 105, row("web", "pod-1", 5), row("web", "pod-2", 210))
		step("it was not read", 315, none, row("web", "pod-2", 210))
		step("it was there all the time", 316, 106, row("web", "pod-1", 6), row("web", "pod-2", 210))
		reset := row("web", "pod-1", 4) // a service whose connections are fewer, and bytes more
		reset.BytesIn = 9000
		step("made anew", 320, 110, reset, row("web", "pod-2", 210))
		if got := scrape(t, c)["kube_ipvs_endpoint_bytes_total{direction=in,endpoint=pod-1,namespace=default,port=http,service=web}"]; got != 4*100+4*5+4*1+9000 {
			t.Errorf("bytes %v", got)
		}
		step("all go", none, none)
		step("all come back", 321, none, row("web", "pod-3", 1))
		step("no endpoint, but the service", 321, none, partial("web", "", 0))
		step("read twice", 325, none, row("web", "pod-3", 5), row("web", "pod-3", 5))
		if got := scrape(t, c)["kube_ipvs_service_active_connections{namespace=default,port=http,service=web}"]; got != 6 {
			t.Errorf("active connections of what was read twice: %v", got)
		}
		step("a second virtual server", 332, none, row("web", "pod-3", 5), of(row("web", "pod-3", 7), 1))
		step("the first goes", 333, none, of(row("web", "pod-3", 8), 1))
		step("it is another pod's", 337, 114, of(row("web", "pod-1", 12), 1))
		step("gone", none, none)
		time.Sleep(remember + time.Second)
		step("forgotten", none, none)
		if n := len(c.rows) + len(c.tables[0].rows) + len(c.tables[1].rows); n != 0 {
			t.Errorf("%d rows are remembered", n)
		}
		step("another of that name", 2, 2, row("web", "pod-1", 2))
	})
}

// of makes a row that of another virtual server.
func of(r Row, n byte) Row {
	r.Of = state.VIPID(netip.AddrFrom4([4]byte{10, 96, 0, n}))
	return r
}

func TestTrafficFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTraffic{rows: []Row{row("web", "", 7)}}
		c := collect(f, services, 0)
		scrape(t, c)
		f.err = errors.New("no netlink")
		diff(t, "fails", scrape(t, c), map[string]float64{"kube_ipvs_traffic_read_errors_total": 1})
		f.err, f.delay = nil, time.Hour
		diff(t, "hangs", scrape(t, c), map[string]float64{"kube_ipvs_traffic_read_errors_total": 2})
		f.delay = 0
		if got := scrape(t, c); got["kube_ipvs_service_connections_total{namespace=default,port=http,service=web}"] != 7 {
			t.Errorf("well again: %v", got)
		}
	})
}

// counted is what a service of the fake kernel has.
type counted struct {
	n  uint64
	of byte // each time that it is made
}

// While rows come and go, no series goes down, each connection is in exactly one
// series, and there are at most as many as allowed.
func TestTrafficFolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit = 3
		f := &fakeTraffic{}
		c := collect(f, services, limit)
		held := map[string]counted{}
		truth, made := 0.0, byte(0)
		last := map[string]float64{} // of all series ever
		act := func(name, action string) {
			k, there := held[name]
			switch {
			case action == "gone":
				delete(held, name)
				return
			case !there:
				made++
				k = counted{of: made}
			}
			switch {
			case action == "some":
				k.n++
				truth++
			case action == "many":
				k.n += 100
				truth += 100
			case action == "anew" && k.n > 1:
				k.n = 1
				truth++
			}
			held[name] = k
		}
		for range rapid.IntRange(1, 25).Draw(t, "scrapes") {
			f.rows = nil
			for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
				act(name, rapid.SampledFrom([]string{"idle", "some", "many", "gone", "anew"}).Draw(t, name))
				if k, there := held[name]; there {
					f.rows = append(f.rows, of(row(name, "x", k.n), k.of))
				}
			}
			got := scrape(t, c)
			series, total := 0, 0.0
			for name, v := range got {
				if !strings.HasPrefix(name, "kube_ipvs_service_connections_total{") {
					continue
				}
				series++
				if v < last[name] {
					t.Fatalf("%s went from %v to %v", name, last[name], v)
				}
				last[name] = v
			}
			for _, v := range last {
				total += v
			}
			if folded := got["kube_ipvs_traffic_folded_rows{level=service}"]; total != truth || series > limit+1 || folded != float64(max(0, len(held)-limit)) {
				t.Fatalf("%v connections in %d series, %v folded; there were %v connections, %d services: %v", total, series, folded, truth, len(held), got)
			}
		}
	})
}

// The busiest have series, and who has one keeps it until another is clearly ahead.
func TestTrafficTop(t *testing.T) {
	f := &fakeTraffic{}
	c := collect(f, services, 1)
	const name = "kube_ipvs_service_connections_total{namespace=default,port=http,service="
	const rest = "kube_ipvs_service_connections_total{namespace=,port=,service=(others)}"
	for i, step := range []struct{ a, b, wantA, wantB, wantRest float64 }{ // 0: no series
		{100, 50, 100, 0, 50},
		{100, 120, 100, 0, 120},
		{100, 130, 0, 10, 120}, // b begins where it comes in
		{150, 130, 0, 10, 170},
		{200, 131, 150, 0, 171}, // a goes on where it was
	} {
		f.rows = []Row{row("a", "x", uint64(step.a)), row("b", "y", uint64(step.b))}
		got := scrape(t, c)
		if got[name+"a}"] != step.wantA || got[name+"b}"] != step.wantB || got[rest] != step.wantRest {
			t.Errorf("step %d: a %v, b %v, others %v; want %v", i, got[name+"a}"], got[name+"b}"], got[rest], step)
		}
	}
	f.rows = f.rows[:1]
	if got := scrape(t, c); got[name+"a}"] != 150 || got[rest] != 171 {
		t.Errorf("b is gone, what the others had is not: %v", got)
	}
}

func newMetrics() *metrics.Metrics {
	return metrics.New(metrics.Config{
		Backlog: func() report.Backlog { return report.Backlog{} }, Healthy: func() bool { return true }, Ready: func() (bool, string) { return true, "" },
	})
}

// Scrapes at the same time share a reading.
func TestTrafficIsShared(t *testing.T) {
	m := newMetrics()
	f := &fakeTraffic{rows: []Row{row("web", "", 1)}, delay: 200 * time.Millisecond}
	if err := m.Register(collect(f, services, 0)); err != nil {
		t.Fatal(err)
	}
	handler := m.Handler(quiet())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			w := httptest.NewRecorder()
			if handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil)); w.Code != 200 || !strings.Contains(w.Body.String(), "kube_ipvs_service_connections_total{") {
				t.Errorf("%d", w.Code)
			}
		})
	}
	wg.Wait()
	if f.reads >= 8 {
		t.Errorf("%d readings for 8 scrapes at once", f.reads)
	}
}

// BenchmarkTrafficScrape is a whole scrape, as text, of 10,000 services.
func BenchmarkTrafficScrape(b *testing.B) {
	for _, bb := range []struct {
		name string
		rows int
	}{{"all", 10000}, {"top1000", DefaultRows}} {
		b.Run(bb.name, func(b *testing.B) {
			m := newMetrics()
			f := &fakeTraffic{}
			for i := range 10000 {
				f.rows = append(f.rows, row(fmt.Sprintf("service-%05d", i*7919%10000), "", uint64(i)))
			}
			if err := m.Register(collect(f, services, bb.rows)); err != nil {
				b.Fatal(err)
			}
			handler := m.Handler(quiet())
			r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			b.ReportAllocs()
			for b.Loop() {
				for i := range f.rows {
					f.rows[i].Connections++
					f.rows[i].BytesIn += 1000
				}
				handler.ServeHTTP(&discard{h: http.Header{}}, r)
			}
		})
	}
}

type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
