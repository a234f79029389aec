package traffic

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// fakeTables are those of a kernel, and whose its virtual servers are.
type fakeTables struct {
	tracked   kernel.Fill
	sets      map[state.ID]kernel.Fill
	refused   map[state.ID]uint64
	of        map[state.ID]report.ServedPort
	noTracked error
	noRefused error
	config    desired.Config
}

func newFakeTables() *fakeTables {
	return &fakeTables{config: desired.Config{Mode: desired.Image, Images: desired.DefaultImages}, of: map[state.ID]report.ServedPort{}}
}

func (f *fakeTables) Conntrack() (kernel.Fill, error) { return f.tracked, f.noTracked }

func (f *fakeTables) Sets() (map[state.ID]kernel.Fill, error) { return f.sets, nil }

func (f *fakeTables) Refused(each func(state.ID, uint64)) error {
	for entry, packets := range f.refused {
		each(entry, packets)
	}
	return f.noRefused
}

func (f *fakeTables) Served(server state.ID) (report.ServedPort, bool) {
	s, ok := f.of[server]
	return s, ok
}

func (f *fakeTables) PodOf(model.Key, netip.Addr) string { return "" }

// refuse returns the entry that refuses a Service's frontend of a number, behind an
// address of a set that publishes it, and makes the frontend known; no service: it is not.
func (f *fakeTables) refuse(refuses, publishes state.SetName, number byte, service string) state.ID {
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, 0, number}), 80)
	if service != "" {
		for _, server := range f.config.Servers(state.EntryID(publishes, state.TCP, at)) {
			f.of[server] = report.ServedPort{Key: key(service), Port: "http"}
		}
	}
	return state.EntryID(refuses, state.TCP, at)
}

func (f *fakeTables) collector(rows int) prometheus.Collector {
	return NewTablesCollector(f, f.config, f, rows, quiet())
}

// expect scrapes once and compares some series; absent: there must be none.
func expect(t *testing.T, c prometheus.Collector, when string, want map[string]float64) {
	t.Helper()
	got := scrape(t, c)
	for series, w := range want {
		if v, ok := got[series]; ok != (w != absent) || ok && v != w {
			t.Errorf("%s: %s is %v (there: %v), want %v", when, series, v, ok, w)
		}
	}
}

const absent = -1

func TestTables(t *testing.T) {
	f := newFakeTables()
	f.tracked, f.sets = kernel.Fill{Entries: 10, Limit: 100}, map[state.ID]kernel.Fill{state.SetID(state.SetAll, state.IPv4): {Entries: 2, Limit: 1 << 20}}
	c := f.collector(0)
	expect(t, c, "at first", map[string]float64{
		"kube_ipvs_conntrack_entries": 10, "kube_ipvs_conntrack_limit": 100, "kube_ipvs_table_read_errors_total": 0,
		"kube_ipvs_ipset_entries{set=KIPVS-ALL}": 2, "kube_ipvs_ipset_limit{set=KIPVS-ALL}": 1 << 20,
	})
	// A table that can be read has its metrics, though another cannot be read.
	f.noTracked = errors.New("no conntrack")
	expect(t, c, "then", map[string]float64{
		"kube_ipvs_conntrack_entries": absent, "kube_ipvs_conntrack_limit": absent, "kube_ipvs_table_read_errors_total": 1, "kube_ipvs_ipset_entries{set=KIPVS-ALL}": 2,
	})
	expect(t, c, "after two such readings", map[string]float64{"kube_ipvs_table_read_errors_total": 2})
}

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeTables()
		c := f.collector(2)
		const web = "kube_ipvs_service_refused_packets_total{namespace=default,port=http,reason=no_endpoints,service=web}"
		const far = "kube_ipvs_service_refused_packets_total{namespace=default,port=http,reason=no_local_endpoints,service=far}"
		const all = "kube_ipvs_refused_packets_total{reason=no_endpoints}"
		const local = "kube_ipvs_refused_packets_total{reason=no_local_endpoints}"
		expect(t, c, "without any", map[string]float64{web: absent, all: 0, local: 0})
		// Two frontends of one port, one without a known Service, and one that others serve.
		one := f.refuse(state.SetReject, state.SetCluster, 1, "web")
		two := f.refuse(state.SetReject, state.SetExternal, 2, "web")
		elsewhere := f.refuse(state.SetNoLocal, state.SetExternal, 3, "far")
		unknown := f.refuse(state.SetReject, state.SetCluster, 9, "")
		f.refused = map[state.ID]uint64{one: 3, two: 4, elsewhere: 100, unknown: 5}
		expect(t, c, "with some", map[string]float64{web: 7, far: 100, all: 12, local: 100})
		f.noRefused = errors.New("no netlink")
		expect(t, c, "unread", map[string]float64{web: absent, all: absent, "kube_ipvs_refused_read_errors_total": 1})
		f.noRefused = nil
		expect(t, c, "read again", map[string]float64{web: 7, all: 12, "kube_ipvs_refused_read_errors_total": 1})
		// It gets an endpoint, and loses it again: its entries are new.
		f.refused = nil
		expect(t, c, "served", map[string]float64{web: 7, all: 12})
		f.refused = map[state.ID]uint64{one: 2}
		expect(t, c, "refused again", map[string]float64{web: 9, all: 14})
		f.refused[one] = 6
		expect(t, c, "and again", map[string]float64{web: 13, all: 18})
		// Those with most packets have the series that there may be.
		f.refused[f.refuse(state.SetReject, state.SetCluster, 5, "busy")] = 50
		expect(t, c, "with too many", map[string]float64{
			web: absent, "kube_ipvs_service_refused_packets_total{namespace=default,port=http,reason=no_endpoints,service=busy}": 50, all: 68,
		})
		f.refused = nil
		time.Sleep(remember + time.Second)
		expect(t, c, "long after", map[string]float64{web: absent, all: 68, local: 100})
	})
}

// Every set that refuses leads to the Service port whose frontend it is.
func TestRefusedAreNamed(t *testing.T) {
	f := newFakeTables()
	f.refused = map[state.ID]uint64{}
	for i, refuses := range []state.SetName{state.SetReject, state.SetDrop} {
		f.refused[f.refuse(refuses, state.SetCluster, byte(i), "web")] = 1
	}
	for i, refuses := range []state.SetName{state.SetReject, state.SetNoLocal} {
		f.refused[f.refuse(refuses, state.SetExternalLocal, byte(i)+10, "web")] = 1
	}
	for i, refuses := range []state.SetName{state.SetNodePortReject, state.SetNodePortNoLocal} {
		half, port := state.Halves(netip.MustParsePrefix("0.0.0.0/0"))[0], uint16(30000+i)
		f.refused[state.NetEntryID(refuses, state.TCP, half, port)] = 1
		f.of[f.config.Servers(state.NetEntryID(state.SetNodePort, state.TCP, half, port))[0]] = report.ServedPort{Key: key("web"), Port: "http"}
	}
	expect(t, f.collector(0), "one each", map[string]float64{
		"kube_ipvs_service_refused_packets_total{namespace=default,port=http,reason=no_endpoints,service=web}":       3,
		"kube_ipvs_service_refused_packets_total{namespace=default,port=http,reason=no_local_endpoints,service=web}": 3,
	})
}
