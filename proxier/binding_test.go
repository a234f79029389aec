package proxier

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// A start that would have to add more than mostAddresses binds by routes. Existing addresses do not count,
// and later ones do not change the decision.
func TestManyClusterIPs(t *testing.T) {
	for _, tt := range []struct {
		name                    string
		wanted, addresses, bare int // Services, and how many of the first are there already, and how
		most                    int
		noDevice, want          bool // by routes
	}{
		{"as many as may be", 3, 0, 0, 3, false, false},
		{"one more", 4, 0, 0, 3, false, true},
		{"one more, and one is there", 4, 1, 0, 3, false, false},
		{"many that are there", 9, 9, 0, 3, false, false},
		{"many that are routes", 9, 0, 9, 3, false, true},
		{"few that are routes", 2, 0, 2, 3, false, false},
		{"routes asked for", 1, 0, 0, 3, true, true},
		{"routes asked for, of addresses", 1, 1, 0, 3, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, c := newFake(), testConfig(desired.Image)
				k.State.Put(state.LinkID(), state.None)
				c.Desired.NoDevice = tt.noDevice
				address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 96, 0, byte(i + 1)}) }
				for i := range tt.addresses + tt.bare {
					k.State.Put(state.VIPID(address(i)), state.Intern(state.Spec{Bare: i >= tt.addresses}))
				}
				c.MostAddresses = tt.most
				p := running(t, k, c)
				add := func(i int) { p.Events([]source.Event{webService(address(i).String())}) }
				check := func(when string, n int) {
					t.Helper()
					synctest.Wait()
					for i := range n {
						spec, there := k.State.Get(state.VIPID(address(i)))
						if !there || spec.Value().Bare != tt.want {
							t.Errorf("%s: %s: there: %v, by its route alone: %v", when, address(i), there, there && spec.Value().Bare)
						}
					}
				}
				for i := range tt.wanted {
					add(i)
				}
				p.Synced()
				check("at the start", tt.wanted)
				for i := range 5 {
					add(tt.wanted + i)
				}
				check("later", tt.wanted+5)
			})
		})
	}
}
