package ipvs

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// As Linux 7.3 wrote it.
const sample = `IP Virtual Server version 1.2.1 (size=256)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
SCTP  0A60000D:0050 lc  
FWM  00000007 wlc 
  -> 0AF40007:0050      Masq    1      0          0         
UDP  0A60000C:0050 sh ops  
  -> 0AF40006:0050      Route   1      0          0         
TCP  0A600001:01BB rr  
  -> C0A8010B:192B      Masq    0      17         4000000000
  -> C0A8010A:192B      Masq    1      0          -1        
FWM  00000008 wlc persistent 6000 80000000
  -> [fd00:0010:0244:0000:0000:0000:0000:0007]:0050      Masq    1      0          0         
UDP  0A60000A:0035 rr  persistent 1080000 FFFFFFFF
  -> 0AF40005:0035      Masq    1      0          0         
TCP  [fd00:0010:0096:0000:0000:0000:0000:000a]:0035 wrr persistent 30000 40000000
  -> [fd00:0010:0244:0000:0000:0000:0000:0005]:0035      Masq    65535  0          3         
IP_47  0A60000B:0000 mh  
`

func key(proto uint8, addr string) ServiceKey {
	return ServiceKey{Proto: proto, Addr: netip.MustParseAddrPort(addr)}
}

func dest(addr string, weight, active, inactive uint32) Dest {
	return Dest{Addr: netip.MustParseAddrPort(addr), Weight: weight, Active: active, Inactive: inactive}
}

// collect returns a function for parseTable and ReadTable that fills all.
func collect(all map[ServiceKey][]Dest) func(ServiceKey, []Dest) {
	return func(k ServiceKey, d []Dest) { all[k] = append([]Dest{}, d...) }
}

var compareAddrs = cmp.Options{
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

func TestParseTable(t *testing.T) {
	text := strings.Replace(sample, "4000000000", "4000      ", 1)
	got := map[ServiceKey][]Dest{}
	if err := parseTable(strings.NewReader(text), collect(got)); err != nil {
		t.Fatal(err)
	}
	want := map[ServiceKey][]Dest{
		key(132, "10.96.0.13:80"):            {},
		key(17, "10.96.0.12:80"):             {dest("10.244.0.6:80", 1, 0, 0)},
		key(6, "10.96.0.1:443"):              {dest("192.168.1.11:6443", 0, 17, 4000), dest("192.168.1.10:6443", 1, 0, 0)},
		key(17, "10.96.0.10:53"):             {dest("10.244.0.5:53", 1, 0, 0)},
		key(6, "[fd00:10:96::a]:53"):         {dest("[fd00:10:244::5]:53", 65535, 0, 3)},
		{47, key(0, "10.96.0.11:0").Addr, 0}: {},
	}
	if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
		t.Error(diff)
	}
}

func TestParseTableEmpty(t *testing.T) {
	head := strings.Join(strings.SplitAfter(sample, "\n")[:3], "")
	if err := parseTable(strings.NewReader(head), func(ServiceKey, []Dest) { t.Error("a service") }); err != nil {
		t.Error(err)
	}
}

func TestParseTableMalformed(t *testing.T) {
	head := strings.Join(strings.SplitAfter(sample, "\n")[:3], "")
	const service = "TCP  0A600001:01BB rr  \n"
	for text, want := range map[string]string{
		"":                                  "ends after line 0",
		"IP Virtual Server\n":               "line 1 is malformed",
		"cat: /proc/net/ip_vs: no\n":        "line 1 is malformed",
		head + "TCP\n":                      "line 4",
		head + "\n":                         "line 4",
		head + "TCP  0A600001 rr\n":         "line 4",
		head + "TCP  0A600001:01B rr\n":     "line 4",
		head + "TCP  0A60000G:01BB rr\n":    "line 4",
		head + "DCCP  0A600001:01BB rr\n":   "line 4",
		head + "IP_256  0A600001:01BB rr\n": "line 4",
		head + "TCP  [fd00:0010]:0035 rr\n": "line 4",
		head + "TCP  [fd00:0010:0096:0000:0000:0000:0000.000a]:0035 rr\n": "line 4",
		head + "  -> 0AF40006:0050 Masq 1 0 0\n":                          "line 4",
		head + service + "  -> 0AF40006:0050 Masq 1 0\n":                  "line 5",
		head + service + "  -> 0AF40006:0050 Masq one 0 0\n":              "line 5",
		head + service + "  -> 0AF40006:0050 Masq 1 0 99999999999\n":      "line 5",
		head + service + strings.Repeat("x", 70_000):                      "after line 4",
	} {
		err := parseTable(strings.NewReader(text), func(ServiceKey, []Dest) {})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %s", text, err, want)
		}
	}
}

// What is read without an error can be written again and read as the same.
func FuzzParseTable(f *testing.F) {
	f.Add(sample)
	f.Add(strings.Replace(sample, "4000000000", "4000      ", 1))
	f.Fuzz(func(t *testing.T, text string) {
		got := map[ServiceKey][]Dest{}
		if parseTable(strings.NewReader(text), collect(got)) != nil {
			return
		}
		again := map[ServiceKey][]Dest{}
		if err := parseTable(strings.NewReader(format(got)), collect(again)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, again, compareAddrs); diff != "" {
			t.Error(diff)
		}
	})
}

func format(all map[ServiceKey][]Dest) string {
	var b strings.Builder
	b.WriteString(strings.Join(strings.SplitAfter(sample, "\n")[:3], ""))
	addr := func(a netip.AddrPort) string {
		if p := a.Addr().AsSlice(); len(p) == 4 {
			return fmt.Sprintf("%X:%04X", p, a.Port())
		}
		return fmt.Sprintf("[%s]:%04X", a.Addr().StringExpanded(), a.Port())
	}
	for k, dests := range all {
		if k.Addr.Addr().Is4In6() {
			return format(nil) // the kernel writes those as any other
		}
		fmt.Fprintf(&b, "IP_%d  %s rr \n", k.Proto, addr(k.Addr))
		for _, d := range dests {
			if d.Addr.Addr().Is4In6() {
				return format(nil)
			}
			fmt.Fprintf(&b, "  -> %s      %-7s %-6d %-10d %-10d\n", addr(d.Addr), "Masq", d.Weight, d.Active, d.Inactive)
		}
	}
	return b.String()
}

func BenchmarkParseTable(b *testing.B) {
	all := map[ServiceKey][]Dest{}
	for i := range 2000 {
		k := ServiceKey{Proto: 6, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), 80)}
		for j := range 5 {
			all[k] = append(all[k], Dest{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), byte(j)}), 8080), Weight: 1})
		}
	}
	text := format(all)
	b.ReportAllocs()
	for b.Loop() {
		if err := parseTable(strings.NewReader(text), func(ServiceKey, []Dest) {}); err != nil {
			b.Fatal(err)
		}
	}
}
