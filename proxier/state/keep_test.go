package state

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawID names anything, out of so few that they meet.
func drawID(t *rapid.T) ID {
	addr := func(what string) netip.Addr {
		return rapid.SampledFrom([]netip.Addr{{}, netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("10.96.1.255"),
			netip.MustParseAddr("fd96::1"), netip.MustParseAddr("::ffff:10.96.0.1")}).Draw(t, what)
	}
	small := func(what string) uint8 { return rapid.SampledFrom([]uint8{0, 1, 2, 255}).Draw(t, what) }
	port := func(what string) uint16 { return rapid.SampledFrom([]uint16{0, 80, 0x5000, 65535}).Draw(t, what) }
	id := FlowID(Protocol(small("proto")), netip.AddrPortFrom(addr("addr"), port("port")))
	id.peer, id.PeerPort = addressOf(addr("peer")), port("peer port")
	id.Kind = Kind(rapid.IntRange(1, int(kinds)-1).Draw(t, "kind"))
	id.Set, id.Setting, id.Bits = SetName(small("set")), SettingKey(small("setting")), small("bits")
	return id
}

func drawSpec(t *rapid.T) SpecRef {
	return Intern(Spec{MTU: uint32(rapid.IntRange(0, 300).Draw(t, "spec"))})
}

// An address that goes into an ID comes out of it, and orders as it did.
func TestAddress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawID(t), drawID(t)
		if got := addressOf(a.Addr()); got != a.addr {
			t.Errorf("%s became %s", a.Addr(), got.netip())
		}
		if got, want := a.addr.compare(b.addr), a.Addr().Compare(b.Addr()); got != want {
			t.Errorf("%s and %s compare as %d, want %d", a.Addr(), b.Addr(), got, want)
		}
		if (a.Compare(b) == 0) != (a == b) || a.Compare(b) != -b.Compare(a) {
			t.Errorf("%v and %v compare as %d and %d", a, b, a.Compare(b), b.Compare(a))
		}
	})
}

// References are equal where what they refer to is.
func TestSpecRef(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(what string) Spec {
			return Spec{Scheduler: rapid.SampledFrom([]string{"", "rr"}).Draw(t, what), Text: rapid.SampledFrom([]string{"", "default/web"}).Draw(t, what),
				Weight: rapid.Uint32Range(0, 1).Draw(t, what)}
		}
		a, b := draw("a"), draw("b")
		if got := Intern(a).Equal(Intern(b)); got != (a == b) || Intern(a).Value() != a {
			t.Errorf("%+v and %+v: equal is %t", a, b, got)
		}
		if (SpecRef{}).Equal(Intern(a)) || Intern(a).Equal(SpecRef{}) || !(SpecRef{}).Equal(SpecRef{}) {
			t.Error("nothing is something")
		}
	})
}

// A State behaves as a map.
func TestStateIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, want := &State{}, map[ID]SpecRef{}
		some := rapid.SliceOfN(rapid.Custom(drawID), 1, 60).Draw(t, "ids")
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			id := rapid.SampledFrom(some).Draw(t, "id")
			if rapid.Bool().Draw(t, "put") {
				spec := drawSpec(t)
				s.Put(id, spec)
				want[id] = spec
			} else {
				s.Delete(id)
				delete(want, id)
			}
			spec, ok := s.Get(id)
			if w, there := want[id]; ok != there || !spec.Equal(w) || s.Has(id) != there {
				t.Fatalf("%v: got %v, %t", id, spec, ok)
			}
		}
		clone := s.Clone()
		s.Put(some[0], None)
		s.Delete(some[0])
		if got := maps.Collect(clone.All()); !maps.EqualFunc(got, want, SpecRef.Equal) || clone.Len() != len(want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		total := 0
		for _, n := range clone.Count() {
			total += n
		}
		if total != len(want) {
			t.Errorf("%d objects are counted, want %d", total, len(want))
		}
	})
}

// It stays one where there are many objects, that come and go.
func TestManyInAState(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	s, want := &State{}, map[ID]SpecRef{}
	for step, most := range []uint32{5000, 300, 5000, 1, 20_000} {
		for range 20_000 {
			n := r.Uint32N(20_000)
			id := RealServerID(webServer, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 80))
			if n < most {
				s.Put(id, Weight(n%2))
				want[id] = Weight(n % 2)
			} else {
				s.Delete(id)
				delete(want, id)
			}
		}
		if got := maps.Collect(s.All()); !maps.EqualFunc(got, want, SpecRef.Equal) || s.Len() != len(want) {
			t.Fatalf("step %d: %d objects, want %d", step, s.Len(), len(want))
		}
		for id := range want {
			if !s.Has(id) {
				t.Fatalf("step %d: %s is lost", step, id)
			}
		}
	}
}

// What is packed is what comes out, also where a Packer is used again.
func TestPacked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p Packer
		for range 2 {
			var want []Object
			for range rapid.IntRange(0, 400).Draw(t, "objects") {
				want = append(want, Object{drawID(t), drawSpec(t)})
			}
			for _, o := range want {
				p.Add(o.ID, o.Spec)
			}
			var got []Object
			for id, spec := range p.Done().All() {
				got = append(got, Object{id, spec})
			}
			if !slices.EqualFunc(got, want, func(a, b Object) bool { return a.ID == b.ID && a.Spec.Equal(b.Spec) }) {
				t.Fatalf("got %v, want %v", got, want)
			}
		}
	})
}

// It is there to be small.
func TestPackedIsSmall(t *testing.T) {
	var p Packer
	for i := range 100 {
		p.Add(RealServerID(webServer, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 1}), 8080)), Weight(1))
	}
	if n := len(p.Done().data); n > 100*6 {
		t.Errorf("100 real servers take %d bytes", n)
	}
}
