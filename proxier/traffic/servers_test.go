package traffic

import (
	"maps"
	"net/netip"
	"testing"

	"kube-ipvs/proxier/state"
)

// Virtual servers bear the labels that node_exporter gives them, and as many as have
// room: of Service ports that have series of their own.
func TestVirtualServerInfo(t *testing.T) {
	web := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("242.96.0.10:80"))
	six := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("[5d96::10]:80"))
	dns := state.VirtualServerID(state.UDP, netip.MustParseAddrPort("242.96.0.53:53"))
	of := func(id state.ID, service string, n uint64) Row {
		r := row(service, "", n)
		r.Of = id
		return r
	}
	endpoint := of(state.RealServerID(dns, netip.MustParseAddrPort("10.244.0.11:53")), "dns", 3)
	endpoint.Endpoint = "pod-1"
	const (
		webInfo = `kube_ipvs_virtual_server_info{local_address=242.96.0.10,local_port=80,namespace=default,port=http,proto=TCP,service=web}`
		sixInfo = `kube_ipvs_virtual_server_info{local_address=5d96::10,local_port=80,namespace=default,port=http,proto=TCP,service=web}`
		dnsInfo = `kube_ipvs_virtual_server_info{local_address=242.96.0.53,local_port=53,namespace=default,port=http,proto=UDP,service=dns}`
		newInfo = `kube_ipvs_virtual_server_info{local_address=242.96.0.53,local_port=53,namespace=default,port=http,proto=UDP,service=new}`
	)
	for _, tt := range []struct {
		name string
		rows int
		read [][]Row
		want []string
	}{
		{"all", 9, [][]Row{{of(web, "web", 1), of(six, "web", 1), endpoint}}, []string{webInfo, sixInfo, dnsInfo}},
		{"those with series", 2, [][]Row{{of(web, "web", 9), of(six, "web", 9), endpoint, of(state.ID{}, "idle", 0)}}, []string{webInfo, dnsInfo}},
		{"what is unknown", 9, [][]Row{{of(web, "", 9), of(state.ID{}, "db", 1)}}, nil},
		{"one that has gone, and another's", 9, [][]Row{{of(web, "web", 1), endpoint}, {of(dns, "new", 1)}}, []string{newInfo}},
	} {
		f := &fakeTraffic{}
		c := collect(f, endpoints, tt.rows)
		got := map[string]float64{}
		for _, f.rows = range tt.read {
			got = scrape(t, c)
		}
		maps.DeleteFunc(got, func(name string, _ float64) bool { return name[:len("kube_ipvs_v")] != "kube_ipvs_v" })
		want := map[string]float64{}
		for _, name := range tt.want {
			want[name] = 1
		}
		diff(t, tt.name, got, want)
	}
}
