package health

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs/proxier/state"
)

// ofServer returns a row of the virtual server with a number.
func ofServer(number uint8, service string, n uint64) Traffic {
	r := row(service, "", n)
	r.Of = state.ID{Kind: state.VirtualServer, Bits: number}
	return r
}

func TestMeter(t *testing.T) {
	var m Meter
	at := time.Unix(1000, 0)
	if got := m.Take([]Traffic{ofServer(1, "web", 10), ofServer(2, "web", 100), ofServer(3, "db", 7)}, at); got != nil {
		t.Errorf("a first reading has rates: %v", got)
	}
	behind := ofServer(4, "image", 50)
	behind.Whole = false
	steps := []struct {
		name string
		rows []Traffic
		want []Rate
	}{
		{"two servers of a Service, one read twice; one begins anew; one is new", []Traffic{ofServer(1, "web", 20), ofServer(2, "web", 104), ofServer(2, "web", 104), ofServer(3, "db", 2), behind}, []Rate{
			{Namespace: "default", Service: "web", Connections: 124, New: 7, Whole: true, Active: 12, Inactive: 14, PacketsIn: 14, PacketsOut: 21, BytesIn: 28, BytesOut: 35},
			{Namespace: "default", Service: "db", Connections: 2, New: 1, Whole: true, Active: 6, Inactive: 7, PacketsIn: 2, PacketsOut: 3, BytesIn: 4, BytesOut: 5},
			{Namespace: "default", Service: "image", Connections: 50, New: 25},
		}},
		{"one missing from a reading comes back", []Traffic{ofServer(2, "web", 104)}, []Rate{
			{Namespace: "default", Service: "web", Connections: 104, Whole: true, Active: 6, Inactive: 7},
		}},
		{"and has what it had", []Traffic{ofServer(1, "web", 22), ofServer(2, "web", 104)}, []Rate{
			{Namespace: "default", Service: "web", Connections: 126, New: 1, Whole: true, Active: 12, Inactive: 14, PacketsIn: 2, PacketsOut: 3, BytesIn: 4, BytesOut: 5},
		}},
		{"a part that is not whole", []Traffic{ofServer(1, "web", 24), {Namespace: "default", Service: "web", Of: state.ID{Bits: 9}, Connections: 2}}, []Rate{
			{Namespace: "default", Service: "web", Connections: 26, New: 2},
		}},
	}
	for _, s := range steps {
		at = at.Add(2 * time.Second)
		if diff := cmp.Diff(s.want, m.Take(s.rows, at)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
}
