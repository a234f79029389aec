package proxier

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// If audits are expensive, a look finds a removed or changed virtual server, a missing or extra entry, and
// changed rules long before the audit.
func TestCanary(t *testing.T) {
	server := serverAt("10.96.0.1:80")
	entry := state.EntryID(state.SetCluster, state.TCP, netip.MustParseAddrPort("10.96.0.1:80"))
	stray := state.EntryID(state.SetCluster, state.TCP, netip.MustParseAddrPort("10.96.9.9:80"))
	for name, harm := range map[string]func(*state.State){
		"ipvsadm -D":  func(s *state.State) { s.Delete(server) },
		"ipvsadm -E":  func(s *state.State) { s.Put(server, state.Intern(state.Spec{Scheduler: "lc", Flags: state.FlagOurs})) },
		"ipset del":   func(s *state.State) { s.Delete(entry) },
		"ipset add":   func(s *state.State) { s.Put(stray, state.None) },
		"iptables -F": func(s *state.State) { s.Delete(state.RulesID(state.IPv4)) },
		"iptables -A": func(s *state.State) {
			s.Put(state.RulesID(state.IPv6), state.Intern(state.Spec{Condition: state.Differs, Text: "changed"}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newSlow(time.Second)
				c := testConfig(desired.Direct)
				c.AuditPeriod, c.CanaryPeriod = time.Hour, 30*time.Second
				p := running(t, k, c)
				p.Events([]source.Event{webService("10.96.0.1"), webSlice("10.96.0.1", "10.244.0.1")})
				p.Synced()
				time.Sleep(10*c.CanaryPeriod + time.Second)
				synctest.Wait()
				want := k.State.Clone()
				if k.audits.Load() != 1 || k.looks.Load() != 9 {
					t.Errorf("%d audits and %d looks, with nothing missing", k.audits.Load(), k.looks.Load())
				}
				harm(k.State)
				p.Events(nil) // what the test wrote, the loop must see
				time.Sleep(c.CanaryPeriod + 2*slowRead)
				synctest.Wait()
				if diff := cmp.Diff(lines(want), lines(k.State)); diff != "" {
					t.Errorf("not repaired after %s: %s", c.CanaryPeriod, diff)
				}
				if len(p.Last().Drift) != 1 {
					t.Errorf("drift %v", p.Last().Drift)
				}
			})
		})
	}
}

// hinted starts a loop over two Services and waits until it rests.
func hinted(t *testing.T, takes time.Duration) (*slow, *Proxier) {
	k := newSlow(takes)
	c := testConfig(desired.Direct)
	c.AuditPeriod, c.CanaryPeriod = 24*time.Hour, 12*time.Hour
	p := running(t, k, c)
	p.Events([]source.Event{webService("10.96.0.1"), webSlice("10.96.0.1", "10.244.0.1"), webService("10.96.0.2")})
	p.Synced()
	time.Sleep(time.Minute)
	synctest.Wait()
	if n := k.audits.Load() + k.looks.Load(); n != 0 {
		t.Fatalf("%d readings without a reason", n)
	}
	return k, p
}

// A desired object whose deletion the kernel reports is back within two seconds.
func TestHints(t *testing.T) {
	vip := state.VIPID(netip.MustParseAddr("10.96.0.1"))
	image := state.RouteID(desired.DefaultImages[0].Cluster)
	for name, tt := range map[string]struct {
		gone []state.ID
		hint func(*Proxier)
	}{
		"a VIP":               {[]state.ID{vip}, func(p *Proxier) { p.Suspect([]state.ID{vip}, false) }},
		"a route":             {[]state.ID{image}, func(p *Proxier) { p.Suspect([]state.ID{image}, false) }},
		"the device":          {[]state.ID{state.LinkID(), vip}, func(p *Proxier) { p.Suspect([]state.ID{state.LinkID()}, false) }},
		"events were dropped": {[]state.ID{vip}, func(p *Proxier) { p.Suspect(nil, true) }},
		"the node's address":  {[]state.ID{vip}, func(p *Proxier) { p.Suspect([]state.ID{state.VIPID(nodeFacts.NodeIPs[0])}, false) }},
		"rules":               {[]state.ID{state.RulesID(state.IPv4)}, (*Proxier).RulesChanged},
		"many": {[]state.ID{vip}, func(p *Proxier) {
			var ids []state.ID
			for i := range mostSuspects + 1 {
				ids = append(ids, state.VIPID(netip.AddrFrom4([4]byte{172, 16, 0, byte(i)})))
			}
			p.Suspect(ids, false)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, p := hinted(t, time.Second)
				want := k.State.Clone()
				for _, id := range tt.gone {
					k.State.Delete(id)
				}
				tt.hint(p)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if diff := cmp.Diff(lines(want), lines(k.State)); diff != "" || k.audits.Load() != 1 {
					t.Errorf("not repaired after %d audits: %s", k.audits.Load(), diff)
				}
			})
		})
	}
}

// The loop's own changes, and changes of unknown objects, cause no read of the kernel.
func TestHintsWithoutReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p := hinted(t, 0)
		gone := webService("10.96.0.2")
		gone.Deleted = true
		p.Events([]source.Event{gone})
		synctest.Wait()
		p.Suspect([]state.ID{state.VIPID(netip.MustParseAddr("10.96.0.2")), state.VIPID(netip.MustParseAddr("169.254.1.1"))}, false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if k.audits.Load() != 0 {
			t.Errorf("%d audits", k.audits.Load())
		}
		p.RulesChanged() // by the loop: a look finds them in order
		time.Sleep(time.Minute)
		synctest.Wait()
		if k.audits.Load() != 0 || k.looks.Load() != 1 {
			t.Errorf("%d audits and %d looks", k.audits.Load(), k.looks.Load())
		}
	})
}

// Continuous changes by another program cause readings of a bounded cost: a twentieth of a CPU, and a second
// beside.
func TestHintsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes, minutes = 500 * time.Millisecond, 10
		k, p := hinted(t, takes)
		vip := state.VIPID(netip.MustParseAddr("10.96.0.1"))
		for range minutes * 600 {
			p.Suspect([]state.ID{vip}, false)
			p.RulesChanged()
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if cost, most := time.Duration(k.audits.Load())*takes, minutes*time.Minute/20; cost > most+time.Second+takes || cost < most/2 {
			t.Errorf("audits took %s of %d minutes", cost, minutes)
		}
		if n := k.looks.Load(); n > minutes*60 {
			t.Errorf("%d looks in %d minutes", n, minutes)
		}
	})
}

// A look finds no difference in the objects that the loop writes meanwhile.
func TestChangesDuringALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p := hinted(t, time.Second)
		k.lookTakes = time.Second
		p.RulesChanged()
		time.Sleep(k.lookTakes / 2) // it has begun, and goes on
		var events []source.Event
		for _, ip := range []string{"10.96.0.3", "10.96.0.4", "10.96.0.5"} {
			events = append(events, webService(ip))
		}
		p.Events(append(events, source.Event{Service: webService("10.96.0.2").Service, Deleted: true}))
		time.Sleep(time.Minute)
		synctest.Wait()
		if k.looks.Load() != 1 || k.audits.Load() != 0 {
			t.Errorf("%d looks and %d audits", k.looks.Load(), k.audits.Load())
		}
		if !k.State.Has(serverAt("10.96.0.5:80")) || k.State.Has(serverAt("10.96.0.2:80")) {
			t.Error("changes wait for the look")
		}
	})
}
