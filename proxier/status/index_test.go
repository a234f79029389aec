package status

import (
	"net/netip"
	"slices"
	"testing"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Virtual servers, and what clients dial, have the names of the entries that
// publish them.
func TestIndexNames(t *testing.T) {
	cluster, lb := netip.MustParseAddrPort("10.96.0.10:80"), netip.MustParseAddrPort("192.168.50.200:80")
	comment := func(text string) state.SpecRef { return state.Intern(state.Spec{Text: text}) }
	x, err := ReadIndex(func(note func(state.ID, state.SpecRef)) error {
		note(state.EntryID(state.SetAll, state.TCP, cluster), comment("default/web:http"))
		note(state.EntryID(state.SetCluster, state.TCP, cluster), state.None)
		note(state.EntryID(state.SetAll, state.TCP, lb), comment("default/api"))
		note(state.EntryID(state.SetExternalLocal, state.TCP, lb), state.None)
		for _, half := range state.Halves(netip.PrefixFrom(netip.IPv4Unspecified(), 0)) {
			note(state.NetEntryID(state.SetNodePort, state.TCP, half, 30080), comment("default/api"))
		}
		note(state.VIPID(cluster.Addr()), state.None)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	web, api, none := model.Key{Namespace: "default", Name: "web"}, model.Key{Namespace: "default", Name: "api"}, model.Key{}
	if got := x.Services(); !slices.Equal(got, []model.Key{api, web}) {
		t.Errorf("the Services are %v", got)
	}
	behind, dialled := x.Behind(desired.Config{Images: desired.DefaultImages, IPv6: true}), x.Dialled()
	for server, want := range map[string]model.Key{
		"10.96.0.10:80": web, "242.96.0.10:80": web, "240.168.50.200:80": api, "248.168.50.200:80": api, "252.0.0.1:30080": api, "10.96.0.99:80": none,
	} {
		if service := behind[state.VirtualServerID(state.TCP, netip.MustParseAddrPort(server))]; service != want {
			t.Errorf("%s is of %v, want %v", server, service, want)
		}
	}
	for at, want := range map[string]model.Key{
		"10.96.0.10:80": web, "192.168.50.200:80": api, "192.168.50.1:30080": api,
		"10.96.0.10:81": none, "192.168.50.1:30081": none, "[fd50::1]:30080": none, "10.244.0.1:8080": none,
	} {
		service, ok := dialled.At(state.TCP, netip.MustParseAddrPort(at))
		if service != want || ok != (want != none) {
			t.Errorf("%s is of %v, want %v", at, service, want)
		}
		if service, ok := dialled.At(state.UDP, netip.MustParseAddrPort(at)); ok {
			t.Errorf("%s/udp is of %v, want nobody", at, service)
		}
	}
}

// Of addresses of the node only those that serve node ports lead to a Service.
func TestNodePortNetworks(t *testing.T) {
	x, err := ReadIndex(func(note func(state.ID, state.SpecRef)) error {
		note(state.NetEntryID(state.SetNodePortLocal, state.TCP, netip.MustParsePrefix("192.168.50.0/24"), 30080), state.Intern(state.Spec{Text: "shop/api:http"}))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	dialled := x.Dialled()
	for at, want := range map[string]bool{"192.168.50.1:30080": true, "192.168.51.1:30080": false} {
		if _, ok := dialled.At(state.TCP, netip.MustParseAddrPort(at)); ok != want {
			t.Errorf("%s leads to a Service: %v, want %v", at, ok, want)
		}
	}
}
