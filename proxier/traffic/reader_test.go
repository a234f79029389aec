package traffic

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// node is what IPVS has counted, and what it is called.
type node struct {
	servers, reals map[state.ID]kernel.Counted
	names          map[state.ID]report.ServedPort
	err            error
}

func (n *node) ServerCounts() (map[state.ID]kernel.Counted, error) { return n.servers, n.err }

func (n *node) RealServerCounts(server state.ID) (map[state.ID]kernel.Counted, error) {
	of := map[state.ID]kernel.Counted{}
	for id, c := range n.reals {
		if id.Server() == server {
			of[id] = c
		}
	}
	return of, n.err
}

func (n *node) Served(server state.ID) (report.ServedPort, bool) {
	s, ok := n.names[server]
	return s, ok
}

func (n *node) PodOf(_ model.Key, endpoint netip.Addr) string {
	if endpoint == netip.MustParseAddr("10.244.0.11") {
		return "pod-1"
	}
	return ""
}

func connections(n uint64) kernel.Counted { return kernel.Counted{Stats: ipvs.Stats{Connections: n}} }

// Rows are of virtual servers or of the endpoints behind them, and only of those that
// have a name.
func TestReader(t *testing.T) {
	at := func(a string) state.ID { return state.VirtualServerID(state.TCP, netip.MustParseAddrPort(a)) }
	web, empty, unknown := at("10.96.0.10:80"), at("10.96.0.20:80"), at("10.96.0.30:80")
	one := state.RealServerID(web, netip.MustParseAddrPort("10.244.0.11:8080"))
	two := state.RealServerID(web, netip.MustParseAddrPort("10.244.0.12:8080"))
	full, rises := connections(10), connections(20)
	full.Weight, full.Upper, full.Active, full.Inactive, rises.Weight = 2, 3, 2, 1, 7
	n := &node{
		servers: map[state.ID]kernel.Counted{web: connections(30), empty: connections(4), unknown: connections(5)},
		reals:   map[state.ID]kernel.Counted{one: full, two: rises},
		names:   map[state.ID]report.ServedPort{web: {Key: key("web"), Port: "http", Whole: true}, empty: {Key: key("empty"), Port: "80"}},
	}
	for _, tt := range []struct {
		level bool
		want  []Row
	}{
		{services, []Row{{n.names[empty], "", empty, connections(4), ""}, {n.names[web], "", web, connections(30), ""}}},
		{endpoints, []Row{{n.names[empty], "", empty, kernel.Counted{}, ""}, {n.names[web], "10.244.0.12", two, rises, state.SlowStart}, {n.names[web], "pod-1", one, full, state.AtLimit}}},
	} {
		r := &Reader{Counters: n, Names: n, Endpoints: tt.level, Reduced: func() state.Reduced { return state.Reduced{two: state.SlowStart} }}
		got, err := r.Rows(t.Context())
		slices.SortFunc(got, func(a, b Row) int { return strings.Compare(a.Name+a.Endpoint, b.Name+b.Endpoint) })
		if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b state.ID) bool { return a == b })); diff != "" || err != nil {
			t.Errorf("endpoints %v: %v (-want +got):\n%s", tt.level, err, diff)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.Rows(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("endpoints %v: after the end of the context: %v", tt.level, err)
		}
		n.err = errors.New("no netlink")
		if _, err := r.Rows(t.Context()); !errors.Is(err, n.err) {
			t.Errorf("endpoints %v: %v", tt.level, err)
		}
		n.err = nil
	}
}
