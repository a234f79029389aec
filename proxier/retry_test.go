package proxier

import (
	"net/netip"
	"testing"

	"kube-ipvs/proxier/state"
)

// A VIP is an address and a route: of one that has lost its address that is said.
func TestDriftOfAnAddress(t *testing.T) {
	vip := state.VIPID(netip.MustParseAddr("10.96.0.80"))
	node, other := netip.MustParseAddr("192.168.50.1"), netip.MustParseAddr("192.168.50.2")
	holds := func(s state.Spec) *state.State {
		var out state.State
		out.Put(vip, state.Intern(s))
		return &out
	}
	bound := state.Spec{Source: node}
	for want, read := range map[string]state.Spec{
		"vip 10.96.0.80 was changed: its address is gone from kube-ipvs0": {Source: node, Bare: true},
		"vip 10.96.0.80 was changed":                                      {Source: other},
	} {
		if got := differences(holds(bound), holds(read)); len(got) != 1 || got[0].String() != want {
			t.Errorf("%v, want %s", got, want)
		}
	}
	bound.Bare = true // with --vip-binding=route it never had one
	if got := differences(holds(bound), holds(state.Spec{Source: other, Bare: true})); len(got) != 1 || got[0].String() != "vip 10.96.0.80 was changed" {
		t.Errorf("without addresses: %v", got)
	}
}
