package health

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs/proxier/state"
)

type fakeTables struct {
	tables []Table
	err    error
}

func (f *fakeTables) Tables() ([]Table, error) { return f.tables, f.err }

type fakeRefused struct {
	rows []Refused
	err  error
}

func (f *fakeRefused) Refused() ([]Refused, error) { return f.rows, f.err }

func metricsWith(t *testing.T, c prometheus.Collector) *Metrics {
	t.Helper()
	h, _ := newHealth(false)
	m := NewMetrics(h, "v1")
	if err := m.Register(c); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTables(t *testing.T) {
	f := &fakeTables{tables: []Table{{Entries: 10, Limit: 100}, {Set: "KIPVS-ALL", Entries: 2, Limit: 1 << 20}}}
	m := metricsWith(t, NewTablesCollector(f, quiet()))
	expectValues(t, m, "at first", map[string]string{
		"kube_ipvs_conntrack_entries": "10", "kube_ipvs_conntrack_limit": "100", "kube_ipvs_table_read_errors_total": "0",
		"kube_ipvs_ipset_entries{set=KIPVS-ALL}": "2", "kube_ipvs_ipset_limit{set=KIPVS-ALL}": "1.048576e+06",
	})
	// One that can be read is told, whatever else cannot.
	f.tables, f.err = f.tables[1:], errors.New("no conntrack")
	if got := value(t, m, "kube_ipvs_conntrack_entries"); got != "absent" {
		t.Errorf("what cannot be read is %s", got)
	}
	expectValues(t, m, "then", map[string]string{"kube_ipvs_ipset_entries{set=KIPVS-ALL}": "2"})
	expectValues(t, m, "after three readings", map[string]string{"kube_ipvs_table_read_errors_total": "3"})
}

// refusal is of a frontend of a Service, which its port tells from others.
func refusal(service string, port uint16, packets uint64) Refused {
	return Refused{Namespace: "default", Service: service, Port: "http", Packets: packets, Of: state.ID{Kind: state.Entry, Port: port}}
}

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRefused{}
		m := metricsWith(t, NewRefusedCollector(f, 2, quiet()))
		const web = "kube_ipvs_service_refused_packets_total{namespace=default,port=http,reason=no_endpoints,service=web}"
		const all = "kube_ipvs_refused_packets_total{reason=no_endpoints}"
		const local = "kube_ipvs_refused_packets_total{reason=no_local_endpoints}"
		expectValues(t, m, "without any", map[string]string{web: "absent", all: "0", local: "0"})
		// Two frontends of one port, one of nobody known, and one that others serve.
		elsewhere := refusal("far", 3, 100)
		elsewhere.Elsewhere = true
		f.rows = []Refused{refusal("web", 1, 3), refusal("web", 2, 4), elsewhere, {Packets: 5, Of: state.ID{Port: 9}}}
		expectValues(t, m, "with some", map[string]string{web: "7", all: "12", local: "100"})
		f.err = errors.New("no netlink")
		expectValues(t, m, "unread", map[string]string{web: "absent", all: "absent"})
		f.err = nil
		expectValues(t, m, "read again", map[string]string{web: "7", all: "12", "kube_ipvs_refused_read_errors_total": "2"})
		// It gets an endpoint, and loses it again: its entries are new.
		f.rows = nil
		expectValues(t, m, "served", map[string]string{web: "7", all: "12"})
		f.rows = []Refused{refusal("web", 1, 2)}
		expectValues(t, m, "refused again", map[string]string{web: "9", all: "14"})
		f.rows[0].Packets = 6
		expectValues(t, m, "and again", map[string]string{web: "13", all: "18"})
		// Those with most packets have the series that there may be.
		f.rows = append(f.rows, refusal("busy", 5, 50))
		expectValues(t, m, "with too many", map[string]string{
			web: "absent", "kube_ipvs_service_refused_packets_total{namespace=default,port=http,reason=no_endpoints,service=busy}": "50", all: "68",
		})
		f.rows = nil
		time.Sleep(remember + time.Second)
		expectValues(t, m, "long after", map[string]string{web: "absent", all: "68", local: "100"})
	})
}
