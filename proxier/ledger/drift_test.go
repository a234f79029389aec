package ledger

import (
	"net/netip"
	"testing"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// What another program is about to change when the kernel is read is drift as the second
// reading has it.
func TestReadingsInAChange(t *testing.T) {
	server, real := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("10.96.0.1:80")), state.RealServerID(state.VirtualServerID(state.TCP, netip.MustParseAddrPort("10.96.0.1:80")), netip.MustParseAddrPort("10.244.0.1:8080"))
	holds := func(scheduler string) *state.State {
		var s state.State
		if scheduler != "" {
			s.Put(server, state.Intern(state.Spec{Scheduler: scheduler}))
		}
		s.Put(real, state.Weight(1))
		return &s
	}
	believed, second := holds("rr"), holds("lc")
	second.Delete(real)
	out := agreed(differences(believed, holds("")), believed, second)
	if len(out) != 1 || out[0].String() != "virtual server 10.96.0.1:80/tcp was changed" {
		t.Errorf("drift %v", out)
	}
	if s, _ := second.Get(server); s.Value().Scheduler != "lc" || !second.Has(real) {
		t.Errorf("what is believed from now on: %v, real server %v", s.Value(), second.Has(real))
	}
}

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
		"vip 10.96.0.80 was changed: with a wrong address or route":       {Condition: state.WrongRoute},
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

// A write that finds the kernel changed leads to a Read, which tells all that another program has
// changed. After a change of the desired rules a difference is no drift.
func TestDriftAfterAStaleWrite(t *testing.T) {
	server := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("10.96.0.1:80"))
	real := state.RealServerID(server, netip.MustParseAddrPort("10.244.0.1:8080"))
	for _, doubted := range []bool{false, true} {
		k := kernel.NewFake()
		k.State.Put(server, state.Intern(state.Spec{Scheduler: "rr", Flags: state.FlagOurs}))
		k.State.Put(real, state.Weight(1))
		l := newLedger(k, desired.Direct)
		if drift, err := l.Read(t.Context()); err != nil || len(drift) > 0 {
			t.Fatal(err, drift)
		}
		k.State.Delete(server)
		k.State.Delete(real)
		w := l.begin([]state.Want{{ID: real, Spec: state.Weight(0), Present: true}}, false)
		l.fail(&report.Round{}, state.Op{Verb: state.Change, ID: real, Spec: state.Weight(0), Old: state.Weight(1)}, kernel.ErrStale, 0, w)
		l.end(w)
		want := 2
		if doubted {
			l.Doubt()
			want = 0
		}
		if drift, err := l.Read(t.Context()); err != nil || len(drift) != want || l.Has(real) {
			t.Errorf("doubted %t: drift %v, %v", doubted, drift, err)
		}
	}
}
