package traffic

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// ofServer returns a row of the virtual server with a number.
func ofServer(number uint8, service string, n uint64) Row {
	r := row(service, "", n)
	r.Of = state.ID{Kind: state.VirtualServer, Bits: number}
	return r
}

// ofEndpoint returns the row of an endpoint of web with four connections.
func ofEndpoint(number uint8, endpoint string, weight, limit uint32, standing state.Standing) Row {
	r := ofServer(number, "web", 4)
	r.Endpoint, r.Weight, r.Upper, r.Standing = endpoint, weight, limit, standing
	return r
}

func key(service string) model.Key { return model.Key{Namespace: "default", Name: service} }

func TestRates(t *testing.T) {
	var m Rates
	at := time.Unix(1000, 0)
	if got := m.Take([]Row{ofServer(1, "web", 10), ofServer(2, "web", 100), ofServer(3, "db", 7)}, at); got != nil {
		t.Errorf("a first reading has rates: %v", got)
	}
	behind := ofServer(4, "image", 50)
	behind.Whole = false
	incomplete := partial("web", "", 2)
	steps := []struct {
		name string
		rows []Row
		want []Rate
	}{
		{"two servers of a Service, one read twice; one begins anew; one is new", []Row{ofServer(1, "web", 20), ofServer(2, "web", 104), ofServer(2, "web", 104), ofServer(3, "db", 2), behind}, []Rate{
			{Key: key("web"), Connections: 124, New: 7, Whole: true, Active: 12, Inactive: 14, PacketsIn: 14, PacketsOut: 21, BytesIn: 28, BytesOut: 35},
			{Key: key("db"), Connections: 2, New: 1, Whole: true, Active: 6, Inactive: 7, PacketsIn: 2, PacketsOut: 3, BytesIn: 4, BytesOut: 5},
			{Key: key("image"), Connections: 50, New: 25},
		}},
		{"one missing from a reading comes back", []Row{ofServer(2, "web", 104)}, []Rate{
			{Key: key("web"), Connections: 104, Whole: true, Active: 6, Inactive: 7},
		}},
		{"and has what it had", []Row{ofServer(1, "web", 22), ofServer(2, "web", 104)}, []Rate{
			{Key: key("web"), Connections: 126, New: 1, Whole: true, Active: 12, Inactive: 14, PacketsIn: 2, PacketsOut: 3, BytesIn: 4, BytesOut: 5},
		}},
		{"a part that is not whole", []Row{ofServer(1, "web", 24), incomplete}, []Rate{
			{Key: key("web"), Connections: 26, New: 2},
		}},
		{"endpoints, one behind two virtual servers", []Row{
			ofEndpoint(5, "10.244.0.1:80", 1, 5, state.SlowStart), ofEndpoint(6, "10.244.0.1:80", 20, 5, ""), ofEndpoint(7, "10.244.0.2:80", 0, 0, state.Draining),
		}, []Rate{
			{Key: key("web"), Endpoint: "10.244.0.1:80", Balance: Balance{20, 10, [6]uint32{3: 1}}, Connections: 8, New: 4, Whole: true, Active: 12, Inactive: 14, PacketsIn: 8, PacketsOut: 12, BytesIn: 16, BytesOut: 20},
			{Key: key("web"), Endpoint: "10.244.0.2:80", Balance: Balance{0, 0, [6]uint32{0: 1}}, Connections: 4, New: 2, Whole: true, Active: 6, Inactive: 7, PacketsIn: 4, PacketsOut: 6, BytesIn: 8, BytesOut: 10},
		}},
	}
	for _, s := range steps {
		at = at.Add(2 * time.Second)
		if diff := cmp.Diff(s.want, m.Take(s.rows, at)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
}
