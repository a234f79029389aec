package state

import (
	"net/netip"
	"testing"
)

// A plan adds an object after what it needs, and deletes it before that; but for the link,
// with which the addresses on it go at once.
func TestPlanFollowsNeeds(t *testing.T) {
	at := netip.MustParseAddrPort("10.96.0.10:80")
	server := VirtualServerID(TCP, at)
	ids := []ID{RulesID(IPv4), RulesID(IPv6), VIPID(at.Addr()), RealServerID(server, netip.MustParseAddrPort("10.244.0.10:8080"))}
	for _, set := range SetNames() {
		ids = append(ids, EntryID(set, TCP, at))
	}
	step := func(verb Verb, id ID) int { return (&Op{Verb: verb, ID: id, Spec: Weight(1)}).step() }
	for _, id := range ids {
		needs := Needs(nil, id)
		if len(needs) == 0 {
			t.Errorf("%s needs nothing", id)
		}
		for _, need := range needs {
			if step(Add, id) <= step(Add, need) {
				t.Errorf("%s is added before %s", id, need)
			}
			if step(Delete, id) >= step(Delete, need) && need.Kind != Link {
				t.Errorf("%s is deleted after %s", id, need)
			}
		}
	}
}
