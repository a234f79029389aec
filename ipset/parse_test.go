package ipset

import (
	"net/netip"
	"strings"
	"testing"

	"kube-ipvs/netutil"
)

// A request has the form of an answer but for a level: the entry of an answer
// is nested in IPSET_ATTR_ADT.
func answer(typ Type, all ...Entry) []byte {
	const set = "set"
	var b netutil.Batch
	begin(&b, 7, 0)
	b.String(2, set)
	at := b.Nest(8)
	for _, e := range all {
		var one netutil.Batch
		AddEntry(&one, set, typ, e)
		p := one.Messages()[0][16+4+8:] // the protocol
		_, p, _ = netutil.NextAttr(p)   // the name
		a, _, _ := netutil.NextAttr(p)
		b.Attr(a.Type, a.Data...)
	}
	b.End(at)
	return b.Messages()[0][16:]
}

func TestParse(t *testing.T) {
	want := []Entry{
		{Addr: netip.MustParseAddr("10.0.0.1"), Bits: 32, Proto: 6, Port: 65535,
			Peer: netip.MustParseAddr("192.0.2.0"), PeerBits: 24, Comment: strings.Repeat("ä", 127)},
		{Addr: netip.MustParseAddr("2001:db8::1"), Bits: 128, Proto: 132, Port: 1,
			Peer: netip.MustParseAddr("8000::"), PeerBits: 1},
	}
	var got []Entry
	s, err := parse(answer(HashIPPortNet, want...), func(e Entry) { got = append(got, e) })
	if err != nil || s.Name != "set" || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%+v %+v %v", s, got, err)
	}
}

func TestParseMalformed(t *testing.T) {
	bad := Entry{Addr: netip.MustParseAddr("10.0.0.1"), Bits: 33, Proto: 6}
	for name, p := range map[string][]byte{
		"nothing":       nil,
		"no name":       {2, 0, 0, 0},
		"prefix length": answer(HashNetPort, bad),
	} {
		if _, err := parse(p, func(Entry) {}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Any message is read without a panic, and never as an entry that no set can have.
func FuzzParse(f *testing.F) {
	f.Add(answer(HashIP, Entry{Addr: netip.MustParseAddr("10.0.0.1"), Comment: "c"}))
	f.Add(answer(HashIPPortNet, Entry{Addr: netip.MustParseAddr("::1"), Proto: 6, Port: 80, Peer: netip.MustParseAddr("fd00::"), PeerBits: 8}))
	f.Fuzz(func(t *testing.T, p []byte) {
		_, _ = parse(p, nil)
		_, _ = parse(p, func(e Entry) {
			if !e.Addr.IsValid() || int(e.Bits) > e.Addr.BitLen() || int(e.PeerBits) > e.Peer.BitLen() || strings.Contains(e.Comment, "\x00") {
				t.Errorf("%+v", e)
			}
		})
	})
}
