package ipset

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

// A big set, and independent observers: the ipset tool and vishvananda/netlink.
func TestManyEntries(t *testing.T) {
	c := isolated(t)
	const n, set = 20_000, "many"
	must(t, c.Create(Set{Name: set, Type: HashIPPort, Family: unix.AF_INET, Comments: true}))
	all := many(n)
	before, start := c.Stats(), time.Now()
	apply(t, c, AddEntry, set, HashIPPort, all)
	added := time.Since(start)
	t.Logf("%d entries added in %v, %d system calls", n, added, c.Stats().Sends-before.Sends)
	start = time.Now()
	got := listed(t, c, set)
	t.Logf("listed in %v", time.Since(start))
	for _, e := range all {
		if !got[e] {
			t.Fatalf("%+v is missing", e)
		}
	}
	if len(got) != n {
		t.Errorf("%d entries", len(got))
	}
	sets, err := c.Sets()
	if err != nil || len(sets) != 1 || sets[0].Entries != n {
		t.Errorf("%+v %v", sets, err)
	}
	start = time.Now()
	if is, err := c.Set(set); err != nil || is.Entries != n {
		t.Errorf("%+v %v", is, err)
	}
	t.Logf("looked at in %v", time.Since(start))
	compareTool(t, set, all)
	compareLibrary(t, set, all)
	start = time.Now()
	apply(t, c, DeleteEntry, set, HashIPPort, all[n/2:])
	t.Logf("%d deleted in %v", n/2, time.Since(start))
	if got := listed(t, c, set); len(got) != n/2 {
		t.Errorf("%d entries", len(got))
	}
}

func many(n int) []Entry {
	all := make([]Entry, n)
	for i := range all {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		all[i] = Entry{Addr: a, Bits: 32, Proto: 6, Port: uint16(i), Comment: fmt.Sprintf("namespace/service-%d:http", i)}
	}
	return all
}

func compareTool(t *testing.T, set string, all []Entry) {
	out, err := exec.Command("ipset", "save", set).Output()
	if err != nil {
		t.Logf("no ipset tool to compare with: %v", err)
		return
	}
	lines := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		lines[strings.TrimSpace(line)] = true
	}
	for _, e := range all {
		if want := fmt.Sprintf("add %s %s,tcp:%d comment %q", set, e.Addr, e.Port, e.Comment); !lines[want] {
			t.Fatalf("the ipset tool does not know %q", want)
		}
	}
	if len(lines) != len(all)+1 {
		t.Errorf("the ipset tool knows %d entries", len(lines)-1)
	}
}

func compareLibrary(t *testing.T, set string, all []Entry) {
	r, err := netlink.IpsetList(set)
	must(t, err)
	got := map[Entry]bool{}
	for _, e := range r.Entries {
		a, _ := netip.AddrFromSlice(e.IP.To4())
		got[Entry{Addr: a, Bits: 32, Proto: *e.Protocol, Port: *e.Port, Comment: e.Comment}] = true
	}
	for _, e := range all {
		if !got[e] {
			t.Fatalf("vishvananda/netlink does not know %+v", e)
		}
	}
}

// What the library adds, we list: the two agree on the meaning of an entry.
func TestLibraryAdds(t *testing.T) {
	c := isolated(t)
	must(t, c.Create(Set{Name: "s", Type: HashIPPortNet, Family: unix.AF_INET6}))
	proto, port := uint8(17), uint16(53)
	must(t, netlink.IpsetAdd("s", &netlink.IPSetEntry{IP: netip.MustParseAddr("fd00::1").AsSlice(), Protocol: &proto, Port: &port,
		IP2: netip.MustParseAddr("2001:db8::").AsSlice(), CIDR2: 32}))
	want := Entry{Addr: netip.MustParseAddr("fd00::1"), Bits: 128, Proto: 17, Port: 53, Peer: netip.MustParseAddr("2001:db8::"), PeerBits: 32}
	if got := listed(t, c, "s"); len(got) != 1 || !got[want] {
		t.Errorf("%v", got)
	}
	must(t, c.Create(Set{Name: "n", Type: HashNetPort, Family: unix.AF_INET}))
	must(t, netlink.IpsetAdd("n", &netlink.IPSetEntry{IP: netip.MustParseAddr("10.0.0.0").AsSlice(), CIDR: 8, Protocol: &proto, Port: &port}))
	want = Entry{Addr: netip.MustParseAddr("10.0.0.0"), Bits: 8, Proto: 17, Port: 53}
	if got := listed(t, c, "n"); len(got) != 1 || !got[want] {
		t.Errorf("%v", got)
	}
}

func BenchmarkAdd(b *testing.B) {
	c := isolated(b)
	must(b, c.Create(Set{Name: "s", Type: HashIPPort, Family: unix.AF_INET, Comments: true}))
	all := many(20_000)
	var batch netutil.Batch
	for name, size := range map[string]int{"batched": 20_000, "one by one": 1} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; i < b.N; i += size {
				batch.Reset()
				for j := range size {
					AddEntry(&batch, "s", HashIPPort, all[(i+j)%len(all)])
				}
				if errs := c.Exec(&batch); errs != nil {
					b.Fatal(errs)
				}
			}
		})
	}
}
