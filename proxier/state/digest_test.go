package state

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// Two digests are the same if and only if their objects are, after all that came and
// went before, and what changes under watch does not count.
func TestDigest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(what string) (ID, SpecRef) {
			addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, 0, byte(rapid.IntRange(0, 20).Draw(t, what))}), 80)
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				return VirtualServerID(TCP, addr), Intern(Spec{Scheduler: rapid.SampledFrom([]string{"rr", "lc"}).Draw(t, "scheduler")})
			case 1:
				return EntryID(SetAll, TCP, addr), Intern(Spec{Text: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "text")})
			}
			return RealServerID(VirtualServerID(TCP, addr), addr), Weight(uint32(rapid.IntRange(0, 1).Draw(t, "weight")))
		}
		a, d := &State{}, &Digest{}
		put := func(id ID, spec SpecRef) {
			if old, ok := a.Get(id); ok {
				d.Remove(id, old)
			}
			a.Put(id, spec)
			d.Add(id, spec)
		}
		for range rapid.IntRange(0, 40).Draw(t, "changes") {
			id, spec := draw("id")
			if old, ok := a.Get(id); ok && rapid.Bool().Draw(t, "delete") {
				d.Remove(id, old)
				a.Delete(id)
			} else {
				put(id, spec)
			}
		}
		read := digestOf(a)
		if d.Differs(read) {
			t.Fatalf("the same objects differ: %s", a)
		}
		d.Watch()
		id, spec := draw("late")
		put(id, spec)
		if d.Differs(read) {
			t.Fatalf("what changed under watch differs: %s", Object{id, spec})
		}
		for stray, spec := range a.All() {
			d.Remove(stray, spec)
			if !d.Differs(digestOf(a)) {
				t.Fatalf("without %s there is no difference", Object{stray, spec})
			}
			if d.LookDiffers(digestOf(a)) != stray.Kind.InLook() {
				t.Fatalf("without %s a look sees a difference, or none", Object{stray, spec})
			}
			break
		}
	})
}

func digestOf(s *State) *Digest {
	d := &Digest{}
	for id, spec := range s.All() {
		d.Add(id, spec)
	}
	return d
}

func TestDigestSeesEveryField(t *testing.T) {
	id := VirtualServerID(TCP, netip.MustParseAddrPort("10.96.0.1:80"))
	specs := []Spec{{}, {Scheduler: "rr"}, {Flags: 1}, {Timeout: 1}, {Weight: 1}, {MTU: 1}, {Source: netip.IPv4Unspecified()}, {Source: netip.IPv6Unspecified()}, {Text: "rr"}}
	seen := map[uint64]string{}
	for _, s := range specs {
		h := hash(id, Intern(s))
		if seen[h] != "" {
			t.Errorf("%+v and %s have the same hash", s, seen[h])
		}
		seen[h] = fmt.Sprintf("%+v", s)
	}
}
