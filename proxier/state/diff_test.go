package state

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func (o Op) same(p Op) bool {
	return o.Verb == p.Verb && o.ID == p.ID && o.Spec.Equal(p.Spec) && o.Old.Equal(p.Old)
}

type objects map[ID]SpecRef

type drains map[ID]bool

func (d drains) Draining(id ID) bool { return d[id] }

var (
	webServer = VirtualServerID(TCP, ap("10.96.0.10:80"))
	webReal   = RealServerID(webServer, ap("10.244.0.11:8080"))
	dnsServer = VirtualServerID(UDP, ap("10.96.0.53:53"))
	dnsReal   = RealServerID(dnsServer, ap("10.244.0.12:53"))
	rr        = Intern(Spec{Scheduler: "rr", Flags: FlagOurs})
	theirs    = Intern(Spec{Scheduler: "rr"})
	webVIP    = VIPID(webServer.Addr())
	lc        = Intern(Spec{Scheduler: "lc", Flags: FlagOurs})
)

func TestDiff(t *testing.T) {
	tests := []struct {
		name   string
		want   []Want
		actual objects
		drain  drains
		ops    []string
	}{
		{name: "nothing wanted, nothing there"},
		{name: "as it should be", want: []Want{{webServer, rr, true}}, actual: objects{webServer: rr}},
		{name: "missing", want: []Want{{webServer, rr, true}}, ops: []string{"add virtual server 10.96.0.10:80/tcp rr"}},
		{name: "other scheduler", want: []Want{{webServer, lc, true}}, actual: objects{webServer: rr},
			ops: []string{"change virtual server 10.96.0.10:80/tcp lc (was rr)"}},
		{name: "other rules", want: []Want{{RulesID(IPv4), None, true}}, actual: objects{RulesID(IPv4): Intern(Spec{Condition: Differs, Text: "+ nat -A A -j B; - nat -A A -j C"})},
			ops: []string{"change rules IPv4 (differs: + nat -A A -j B; - nat -A A -j C)"}},
		{name: "left alone", want: []Want{{webServer, rr, true}}, actual: objects{webServer: rr, dnsServer: lc}},
		{name: "real server gone", want: []Want{{ID: webReal}}, actual: objects{webServer: rr, webReal: Weight(1)},
			ops: []string{"delete real server 10.244.0.11:8080 of 10.96.0.10:80/tcp"}},
		{name: "real server drains", want: []Want{{ID: webReal}}, actual: objects{webServer: rr, webReal: Weight(1)}, drain: drains{webReal: true},
			ops: []string{"change real server 10.244.0.11:8080 of 10.96.0.10:80/tcp weight 0 (was weight 1)"}},
		{name: "goes on draining", want: []Want{{ID: webReal}}, actual: objects{webServer: rr, webReal: Weight(0)}, drain: drains{webReal: true}},
		{name: "drained", want: []Want{{ID: webReal}}, actual: objects{webServer: rr, webReal: Weight(0)},
			ops: []string{"delete real server 10.244.0.11:8080 of 10.96.0.10:80/tcp"}},
		{name: "comes back while draining", want: []Want{{webReal, Weight(1), true}}, actual: objects{webServer: rr, webReal: Weight(0)}, drain: drains{webReal: true},
			ops: []string{"change real server 10.244.0.11:8080 of 10.96.0.10:80/tcp weight 1 (was weight 0)"}},
		{name: "does not drain when its server goes", want: []Want{{ID: webReal}, {ID: webServer}}, actual: objects{webServer: rr, webReal: Weight(1)}, drain: drains{webReal: true},
			ops: []string{"delete real server 10.244.0.11:8080 of 10.96.0.10:80/tcp", "delete virtual server 10.96.0.10:80/tcp"}},
		{name: "taken over", want: []Want{{webServer, rr, true}, {webReal, Weight(1), true}}, actual: objects{webServer: theirs, webReal: Weight(1)},
			ops: []string{"change virtual server 10.96.0.10:80/tcp rr (was rr foreign)"}},
		{name: "taken over, with connections", want: []Want{{ID: webReal}, {ID: webServer}, {ID: webVIP}}, actual: objects{webServer: theirs, webReal: Weight(1), webVIP: None}, drain: drains{webReal: true},
			ops: []string{"change real server 10.244.0.11:8080 of 10.96.0.10:80/tcp weight 0 (was weight 1)"}},
		{name: "taken over, drained", want: []Want{{ID: webReal}, {ID: webServer}, {ID: webVIP}}, actual: objects{webServer: theirs, webReal: Weight(0), webVIP: None},
			ops: []string{"delete real server 10.244.0.11:8080 of 10.96.0.10:80/tcp", "delete virtual server 10.96.0.10:80/tcp", "delete vip 10.96.0.10"}},
		{name: "settings stay", want: []Want{{ID: SettingID(IPForward)}}, actual: objects{SettingID(IPForward): None}},
		{name: "flows are no writes", want: []Want{{ID: FlowID(UDP, ap("10.96.0.53:53"))}, {FlowID(UDP, ap("10.96.0.54:53")), None, true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, op := range Diff(tt.want, Collect(maps.All(tt.actual)), tt.drain) {
				got = append(got, op.String())
			}
			if !slices.Equal(got, tt.ops) {
				t.Errorf("got %q\nwant %q", got, tt.ops)
			}
		})
	}
}

// Every kind and verb has its place, and the places are in the order that
// NewPlan promises.
func TestPlanOrder(t *testing.T) {
	vip := netip.MustParseAddr("10.96.0.10")
	at := ap("10.96.0.10:80")
	in := []string{}
	add := func(id ID, spec SpecRef) Op { return Op{Verb: Add, ID: id, Spec: spec, Old: None} }
	del := func(id ID) Op { return Op{Verb: Delete, ID: id, Spec: None, Old: None} }
	want := Plan{
		add(SettingID(VSConntrack), None), add(LinkID(), None), add(SetID(SetAll, IPv4), None), add(RulesID(IPv4), None),
		add(RouteID(netip.MustParsePrefix("240.0.0.0/5")), None), add(VIPEntryID(vip), None), add(webServer, rr),
		add(webReal, Weight(1)), add(VIPID(vip), None), add(SourceEntryID(TCP, at, netip.MustParsePrefix("10.0.0.0/8")), None),
		add(EntryID(SetReject, TCP, at), None), add(EntryID(SetSourceFiltered, TCP, at), None), add(EntryID(SetAll, TCP, at), None),
		add(EntryID(SetCluster, TCP, at), None),
		del(EntryID(SetExternal, TCP, at)), del(EntryID(SetAll, TCP, at)), del(EntryID(SetSourceFiltered, TCP, at)),
		del(EntryID(SetNoLocal, TCP, at)), del(LinkID()), del(VIPID(vip)), {Verb: Change, ID: webReal, Spec: Weight(0), Old: Weight(1)},
		del(webReal), del(webServer), del(VIPEntryID(vip)), del(RouteID(netip.MustParsePrefix("240.0.0.0/5"))), del(RulesID(IPv4)),
		del(SetID(SetAll, IPv4)),
	}
	ops := slices.Clone(want)
	slices.Reverse(ops)
	for i, op := range NewPlan(ops) {
		in = append(in, op.String())
		if !op.same(want[i]) {
			t.Fatalf("place %d: got %s, want %s", i, op, want[i])
		}
	}
	if len(in) != len(want) {
		t.Fatalf("plan has %d ops, want %d", len(in), len(want))
	}
}

// An address of another program that is in use becomes ours, and so
// guarded by our rules, when it is published.
func TestPlanTakesAddressesLast(t *testing.T) {
	at := ap("10.96.0.10:80")
	other := netip.MustParseAddr("10.96.0.11")
	publish := Op{Verb: Add, ID: EntryID(SetCluster, TCP, at), Spec: None, Old: None}
	own := Op{Verb: Add, ID: VIPEntryID(at.Addr()), Spec: None, Old: None}
	mend := Op{Verb: Change, ID: VIPID(at.Addr()), Spec: None, Old: None}
	fresh := []Op{{Verb: Add, ID: VIPEntryID(other), Spec: None, Old: None}, {Verb: Add, ID: VIPID(other), Spec: None, Old: None}}
	plan := NewPlan([]Op{own, mend, publish, fresh[0], fresh[1]})
	if got := plan[:5]; !slices.EqualFunc(got, Plan{fresh[0], fresh[1], publish, own, mend}, Op.same) {
		t.Errorf("got %v", got)
	}
	stages := 0
	for rest := plan; len(rest) > 0; stages++ {
		_, rest = rest.Cut(len(plan))
	}
	if stages != 5 {
		t.Errorf("%d stages", stages)
	}
}

// DiffAll is Diff where everything is wanted.
func TestDiffAll(t *testing.T) {
	wants := objects{webServer: rr, webReal: Weight(1), dnsServer: lc}
	for name, tt := range map[string]struct {
		actual objects
		others []Want
	}{
		"nothing there": {},
		"all there":     {actual: wants},
		"some differ":   {actual: objects{webServer: lc, webReal: Weight(1)}},
		"others there":  {objects{webVIP: None, dnsReal: Weight(1), dnsServer: lc}, []Want{{ID: webVIP}, {ID: dnsReal}}},
	} {
		want, actual := Collect(maps.All(wants)), Collect(maps.All(tt.actual))
		want.Put(FlowID(UDP, ap("10.96.0.53:53")), None) // is no write
		var list []Want
		for id, spec := range want.All() {
			list = append(list, Want{ID: id, Spec: spec, Present: true})
		}
		ops, others := DiffAll(want.All(), want.Len(), actual)
		slices.SortFunc(tt.others, func(a, b Want) int { return a.ID.Compare(b.ID) })
		if got, same := fmt.Sprint(ops), fmt.Sprint(Diff(list, actual, drains{})); got != same || !slices.EqualFunc(others, tt.others, func(a, b Want) bool { return a.ID == b.ID && a.Present == b.Present }) {
			t.Errorf("%s: %s, others %v; want %s and %v", name, got, others, same, tt.others)
		}
	}
}
