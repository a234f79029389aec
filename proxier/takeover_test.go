package proxier

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// What another proxy has left and nobody wants goes with its last connection,
// whatever the protocol; what is wanted is edited.
func TestTakenOverServersDrain(t *testing.T) {
	for _, proto := range []state.Protocol{state.TCP, state.UDP} {
		synctest.Test(t, func(t *testing.T) { takenOver(t, proto) })
	}
}

func takenOver(t *testing.T, proto state.Protocol) {
	theirs := state.Intern(state.Spec{Scheduler: "rr"})
	left := state.VirtualServerID(proto, netip.MustParseAddrPort("203.0.113.5:80"))
	busy := state.RealServerID(left, netip.MustParseAddrPort("10.244.0.11:8080"))
	idle := state.RealServerID(left, netip.MustParseAddrPort("10.244.0.12:8080"))
	wanted := serverAt("10.96.0.1:80")
	k := newFake()
	for id, spec := range map[state.ID]state.SpecRef{
		state.LinkID(): state.None, left: theirs, busy: state.Weight(1), idle: state.Weight(1), state.VIPID(left.Addr()): state.Intern(state.Spec{Text: "theirs"}), wanted: theirs,
	} {
		k.State.Put(id, spec)
	}
	k.Conns[busy] = 1
	p := running(t, kernel.Kernel(k), testConfig(desired.Direct))
	p.Events([]source.Event{webService("10.96.0.1")})
	p.Synced()
	time.Sleep(5 * drainInterval)
	synctest.Wait()
	if specOf(k, wanted).Flags&state.FlagOurs == 0 {
		t.Error("what is wanted was not made ours")
	}
	for _, id := range []state.ID{left, busy, state.VIPID(left.Addr())} {
		if !k.State.Has(id) {
			t.Errorf("%s is gone in spite of a connection", id)
		}
	}
	if ok := k.State.Has(idle); ok || specOf(k, busy).Weight != 0 {
		t.Errorf("does not drain: %v", k.State)
	}
	k.Conns[busy] = 0
	p.Events(nil) // hands that over to the loop
	time.Sleep(2 * drainInterval)
	synctest.Wait()
	for _, id := range []state.ID{left, busy, state.VIPID(left.Addr())} {
		if k.State.Has(id) {
			t.Errorf("%s is left", id)
		}
	}
	if r := p.Last(); r.Draining != 0 || len(r.Failures) > 0 {
		t.Errorf("draining %d, failures %v", r.Draining, r.Failures)
	}
}
