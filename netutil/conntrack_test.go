package netutil

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil/ipfamily"
)

// nat is an entry to create: client asks dst, endpoint answers.
type nat struct {
	proto                 uint8
	client, dst, endpoint string
	replied               bool
}

func createNAT(b *Batch, n nat) {
	client, dst, end := netip.MustParseAddrPort(n.client), netip.MustParseAddrPort(n.dst), netip.MustParseAddrPort(n.endpoint)
	ctnetlink(b, ctNew, unix.NLM_F_CREATE|unix.NLM_F_EXCL, ipfamily.Of(dst.Addr()).Inet())
	tuple{proto: n.proto, src: client, dst: dst}.add(b, ctaTupleOrig)
	tuple{proto: n.proto, src: end, dst: client}.add(b, ctaTupleReply)
	b.Be32(ctaTimeout, 600)
	if n.replied {
		b.Be32(ctaStatus, seenReply|confirmed)
	}
	const protoInfo = 4
	at := b.Nest(protoInfo)
	switch n.proto {
	case unix.IPPROTO_TCP:
		tcp := b.Nest(1)
		b.U8(1, 3) // established
		b.End(tcp)
	case unix.IPPROTO_SCTP:
		sctp := b.Nest(3)
		b.U8(1, 4) // established
		b.Be32(2, 1)
		b.Be32(3, 2)
		b.End(sctp)
	}
	b.End(at)
}

// openConntrack opens conntrack where a rule has asked for it in both families, as ours do:
// without one kernels before 4.19 know no addresses of a family.
func openConntrack(t testing.TB) *Conntrack {
	t.Helper()
	for _, tool := range []string{"iptables", "ip6tables"} {
		if out, err := exec.Command(tool, "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID").CombinedOutput(); err != nil {
			lacks(t, "conntrack: %v %s", err, out)
		}
	}
	c, err := OpenConntrack()
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (c *Conntrack) all(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, family := range []Family{IPv4, IPv6} {
		must(t, c.list(t.Context(), family, filter{}, func(e entry) { out = append(out, e.String()) }))
	}
	slices.Sort(out)
	return out
}

// String describes f.
func (f Flow) String() string {
	return fmt.Sprintf("%d %s %s %v", f.Proto, f.Dst, f.Endpoint, f.Unreplied)
}

var natEntries = []nat{
	{17, "10.1.0.1:1000", "10.96.0.10:53", "10.2.0.1:5353", false},
	{17, "10.1.0.2:1000", "10.96.0.10:53", "10.2.0.2:5353", false},
	{17, "10.1.0.3:1000", "10.96.0.10:54", "10.2.0.1:5353", false},
	{17, "10.1.0.4:1000", "10.96.0.11:53", "10.2.0.1:5354", false},
	{6, "10.1.0.1:1000", "10.96.0.10:53", "10.2.0.1:5353", false},
	{132, "10.1.0.1:1000", "10.96.0.10:53", "10.2.0.1:5353", false},
	{132, "10.1.0.1:1000", "10.96.0.10:54", "10.2.0.1:5354", false},
	{17, "[fd01::1]:1000", "[fd96::10]:53", "[fd02::1]:5353", false},
	{17, "[fd01::1]:1001", "[fd96::11]:53", "[fd02::1]:5353", false},
	{17, "[fd01::1]:1002", "[fd96::11]:54", "[fd02::1]:5353", false},
	{17, "10.1.0.5:1000", "10.96.0.10:55", "10.2.0.1:5355", true},
	{17, "10.1.0.6:1000", "10.96.0.10:55", "10.2.0.1:5355", false},
}

func fill(t testing.TB, c *Conntrack, entries []nat) {
	t.Helper()
	var b Batch
	for _, n := range entries {
		createNAT(&b, n)
	}
	must(t, errors.Join(c.deletes.Exec(&b)...))
}

// What a filter lets pass is what goes there, and all that goes there is deleted
// if it is doomed; what does not is not even looked at, in IPv6 as far as the
// kernel compares rightly. A kernel that knows no filters is asked once for everything.
func TestDeleteFlows(t *testing.T) {
	ap := netip.MustParseAddrPort
	tests := []struct {
		name string
		to   []Dialled
		seen []int // of entries, those that doomed is asked about
	}{
		{"nothing", []Dialled{{17, ap("10.9.9.9:53")}}, nil},
		{"one frontend", []Dialled{{17, ap("10.96.0.10:53")}}, []int{0, 1}},
		{"port of any address", []Dialled{{17, ap("0.0.0.0:53")}}, []int{0, 1, 3}},
		{"answered or not", []Dialled{{17, ap("10.96.0.10:55")}}, []int{10, 11}},
		{"TCP", []Dialled{{6, ap("10.96.0.10:53")}}, []int{4}},
		{"SCTP, whose ports the kernel does not compare", []Dialled{{132, ap("10.96.0.10:54")}}, []int{5, 6}},
		{"IPv6, whose addresses it compares wrongly", []Dialled{{17, ap("[fd96::10]:53")}}, []int{7, 8}},
		{"IPv6, port of any address", []Dialled{{17, ap("[::]:53")}}, []int{7, 8}},
		{"several", []Dialled{{17, ap("10.96.0.11:53")}, {17, ap("10.96.0.10:54")}}, []int{2, 3}},
		{"too many for filters", []Dialled{
			{17, ap("10.96.0.11:1")}, {17, ap("10.96.0.11:2")}, {17, ap("10.96.0.11:3")}, {17, ap("10.96.0.11:4")}, {17, ap("10.96.0.11:5")},
		}, []int{0, 1, 2, 3, 4, 5, 6, 10, 11}},
		{"all", nil, []int{0, 1, 2, 3, 4, 5, 6, 10, 11}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inNetns(t, func() { testDeleteFlows(t, tt.to, tt.seen) })
		})
	}
}

func testDeleteFlows(t *testing.T, to []Dialled, seen []int) {
	c := openConntrack(t)
	fill(t, c, natEntries)
	family := IPv4
	if len(to) > 0 {
		family = ipfamily.Of(to[0].To.Addr())
	}
	all := c.all(t)
	filtered := knowsFilters(t, c)
	if !filtered {
		seen = nil
		for i, n := range natEntries {
			if ipfamily.Of(n.flow().Dst.Addr()) == family {
				seen = append(seen, i)
			}
		}
	}
	want := []string{}
	for _, i := range seen {
		want = append(want, natEntries[i].flow().String())
	}
	slices.Sort(want)
	asked := []string{}
	spared := Flow{}
	before := c.Stats().Dumps
	n, err := c.Delete(t.Context(), family, to, func(f Flow) bool {
		if !slices.Contains(asked, f.String()) {
			asked = append(asked, f.String())
		}
		if spared == (Flow{}) {
			spared = f
		}
		return f != spared
	})
	must(t, err)
	if dumps := c.Stats().Dumps - before; !filtered && dumps != 1 {
		t.Errorf("%d dumps", dumps)
	}
	if slices.Sort(asked); !slices.Equal(asked, want) {
		t.Errorf("asked about\n%q, want\n%q", asked, want)
	}
	if n != max(len(seen)-1, 0) {
		t.Errorf("deleted %d, want all but one of %d", n, len(seen))
	}
	left := slices.DeleteFunc(all, func(s string) bool { return slices.Contains(want, s) && s != spared.String() })
	if got := c.all(t); !slices.Equal(got, left) {
		t.Errorf("left\n%q, want\n%q", got, left)
	}
	n, err = c.Delete(t.Context(), family, to, func(f Flow) bool { return f != spared })
	if n != 0 || err != nil {
		t.Errorf("again: deleted %d, %v", n, err)
	}
}

// knowsFilters reports whether the kernel filters what it lists, as it does since 5.8.
func knowsFilters(t *testing.T, c *Conntrack) bool {
	t.Helper()
	filtered := true
	must(t, c.list(t.Context(), IPv4, filter{Dialled: Dialled{Proto: unix.IPPROTO_TCP}}, func(e entry) {
		filtered = filtered && e.Proto == unix.IPPROTO_TCP
	}))
	return filtered
}

func (n nat) flow() Flow {
	return Flow{n.proto, netip.MustParseAddrPort(n.dst), netip.MustParseAddrPort(n.endpoint), !n.replied}
}

// Of TCP entries without a reply alone it tells, and names two entries differently.
func TestEachUnreplied(t *testing.T) {
	inNetns(t, func() {
		c := openConntrack(t)
		fill(t, c, append([]nat{
			{6, "10.1.0.2:1000", "10.96.0.10:53", "10.2.0.1:5353", false},
			{6, "10.1.0.3:1000", "10.96.0.10:53", "10.2.0.3:5353", true},
			{6, "[fd01::1]:1000", "[fd96::10]:53", "[fd02::1]:5353", false},
			{6, "[fd01::2]:1000", "[fd96::10]:53", "[fd02::1]:5353", true},
		}, natEntries...))
		for family, want := range map[Family][]string{
			IPv4: {"10.2.0.1:5353", "10.2.0.1:5353"},
			IPv6: {"[fd02::1]:5353"},
		} {
			ids := map[uint32]string{}
			must(t, c.EachUnreplied(t.Context(), family, func(at netip.AddrPort, id uint32) { ids[id] = at.String() }))
			if got := slices.Sorted(maps.Values(ids)); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", family, got, want)
			}
		}
	})
}

// BenchmarkEachUnreplied reads 100 entries without a reply, beside others with one.
func BenchmarkEachUnreplied(b *testing.B) {
	for _, others := range []int{1000, 20_000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			inNetns(b, func() {
				c := openConntrack(b)
				var entries []nat
				for i := range others + 100 {
					entries = append(entries, nat{6, fmt.Sprintf("10.%d.%d.%d:1000", i>>16, i>>8&255, i&255), "10.96.0.10:80", "10.2.0.1:80", i >= 100})
				}
				fill(b, c, entries)
				n := 0
				for b.Loop() {
					n = 0
					must(b, c.EachUnreplied(b.Context(), IPv4, func(netip.AddrPort, uint32) { n++ }))
				}
				if n != 100 {
					b.Errorf("%d entries", n)
				}
			})
		})
	}
}

// What is not doomed any more when its turn to be deleted comes stays.
func TestDeleteFlowsAsksTwice(t *testing.T) {
	inNetns(t, func() {
		c := openConntrack(t)
		fill(t, c, natEntries)
		asked := map[Flow]int{}
		n, err := c.Delete(t.Context(), IPv4, nil, func(f Flow) bool { asked[f]++; return asked[f] == 1 })
		must(t, err)
		if got := len(c.all(t)); n != 0 || got != len(natEntries) {
			t.Errorf("deleted %d, %d entries left of %d", n, got, len(natEntries))
		}
	})
}

// Many are deleted while they are listed: by one dump, a few hundred a send.
func TestDeleteFlowsMany(t *testing.T) {
	inNetns(t, func() {
		c := openConntrack(t)
		var entries []nat
		for i := range 1500 {
			entries = append(entries, nat{17, fmt.Sprintf("10.1.%d.%d:1000", i>>8, i&255), fmt.Sprintf("10.96.0.10:%d", 53+i%2), "10.2.0.1:53", false})
		}
		fill(t, c, entries)
		before := c.Stats()
		n, err := c.Delete(t.Context(), IPv4, nil, func(f Flow) bool { return f.Dst.Port() == 53 })
		must(t, err)
		s := c.Stats()
		if dumps, sends := s.Dumps-before.Dumps, s.Sends-before.Sends; dumps != 1 || sends != 4 {
			t.Errorf("%d dumps, %d sends; want 1, and 4 with the deletions", dumps, sends)
		}
		if got := len(c.all(t)); n != 750 || got != 750 {
			t.Errorf("deleted %d, left %d", n, got)
		}
	})
}

// It ends soon after its context, and the sockets can be used on.
func TestDeleteFlowsEnds(t *testing.T) {
	inNetns(t, func() {
		c := openConntrack(t)
		var entries []nat
		for i := range 1000 {
			entries = append(entries, nat{17, fmt.Sprintf("10.1.%d.%d:1000", i>>8, i&255), "10.96.0.10:53", "10.2.0.1:53", false})
		}
		fill(t, c, entries)
		ctx, cancel := context.WithCancel(t.Context())
		asked := 0
		n, err := c.Delete(ctx, IPv4, nil, func(Flow) bool { asked++; cancel(); return false })
		if n != 0 || !errors.Is(err, context.Canceled) || asked > 200 {
			t.Errorf("deleted %d, asked %d times, %v", n, asked, err)
		}
		n, err = c.Delete(t.Context(), IPv4, nil, func(Flow) bool { return true })
		if n != 1000 || err != nil {
			t.Errorf("then deleted %d, %v", n, err)
		}
	})
}

func BenchmarkDeleteFlows(b *testing.B) {
	ap := netip.MustParseAddrPort
	for _, tt := range []struct {
		name   string
		family Family
		to     []Dialled
	}{
		{"IPv4/filter", IPv4, []Dialled{{6, ap("10.96.0.2:80")}}},
		{"IPv4/all", IPv4, nil},
		{"IPv6/filter", IPv6, []Dialled{{6, ap("[fd96::2]:80")}}},
		{"IPv6/all", IPv6, nil},
	} {
		b.Run(tt.name, func(b *testing.B) { benchmarkDelete(b, tt.family, tt.to) })
	}
}

func benchmarkDelete(b *testing.B, family Family, to []Dialled) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		newNetns(b)
		c := openConntrack(b)
		const many = 262144 // as net.netfilter.nf_conntrack_max of many nodes
		var batch Batch
		for i := range many {
			n := nat{17, fmt.Sprintf("10.1.%d.%d:%d", i>>8&255, i&255, 1+i>>16), "10.96.0.1:53", "10.2.0.1:53", true}
			if family == IPv6 {
				n = nat{17, fmt.Sprintf("[fd01::%x:%x]:1000", i>>16, i&0xffff), "[fd96::1]:53", "[fd02::1]:53", true}
			}
			createNAT(&batch, n)
			if batch.Full() || i == many-1 {
				must(b, errors.Join(c.deletes.Exec(&batch)...))
				batch.Reset()
			}
		}
		var before, after unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
		b.ResetTimer()
		for range b.N {
			n, err := c.Delete(b.Context(), family, to, func(f Flow) bool { return f.Proto == 6 })
			if must(b, err); n != 0 {
				b.Errorf("deleted %d", n)
			}
		}
		b.StopTimer()
		_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
		cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
		b.ReportMetric(float64(cpu)/1e6/float64(b.N), "cpu-ms/op")
	}()
	<-done
}

// Whether conntrack can be looked into is what a look into it shows.
func TestHasConntrack(t *testing.T) {
	inNetns(t, func() {
		has, err := HasConntrack()
		must(t, err)
		c, err := OpenConntrack()
		must(t, err)
		defer c.Close()
		if err := c.Open(IPv4, func(uint8, netip.AddrPort) {}); (err == nil) != has {
			t.Errorf("it says %t, and a look: %v", has, err)
		}
	})
}

// Open finds what goes on, and not what waits or is over.
func TestOpenFlows(t *testing.T) {
	inNetns(t, func() {
		c := openConntrack(t)
		var b Batch
		createNAT(&b, nat{6, "10.1.0.1:1000", "10.96.0.20:80", "10.2.0.1:8080", true})
		createNAT(&b, nat{6, "[fd01::1]:1000", "[fd96::20]:80", "[fd02::1]:8080", true})
		createNAT(&b, nat{17, "10.1.0.1:1000", "10.96.0.20:53", "10.2.0.1:5353", true}) // answered once
		must(t, errors.Join(c.deletes.Exec(&b)...))
		var got []string
		for _, family := range []Family{IPv4, IPv6} {
			must(t, c.Open(family, func(proto uint8, to netip.AddrPort) { got = append(got, fmt.Sprintf("%d %s", proto, to)) }))
		}
		if want := []string{"6 10.96.0.20:80", "6 [fd96::20]:80"}; !slices.Equal(got, want) {
			t.Errorf("open are %q, want %q", got, want)
		}
	})
}

// Which entries are open, by what the kernel says of them.
func TestIsOpen(t *testing.T) {
	tests := []struct {
		name   string
		proto  uint8
		status uint32
		tcp    uint8
		want   bool
	}{
		{"established", unix.IPPROTO_TCP, seenReply | confirmed, tcpEstablished, true},
		{"SYN sent", unix.IPPROTO_TCP, confirmed, 1, false},
		{"TIME_WAIT, assured as it was", unix.IPPROTO_TCP, seenReply | assured | confirmed, 7, false},
		{"UDP without an answer", unix.IPPROTO_UDP, confirmed, 0, false},
		{"UDP answered once", unix.IPPROTO_UDP, seenReply | confirmed, 0, false},
		{"UDP that goes on", unix.IPPROTO_UDP, seenReply | assured | confirmed, 0, true},
	}
	for _, tt := range tests {
		var b Batch
		b.Begin(ctGet, 0, unix.AF_INET, unix.NFNETLINK_V0, 0, 0)
		b.Be32(ctaStatus, tt.status)
		if tt.tcp != 0 {
			info := b.Nest(ctaProtoinfo)
			tcp := b.Nest(ctaProtoinfoTCP)
			b.U8(ctaProtoinfoTCPState, tt.tcp)
			b.End(tcp)
			b.End(info)
		}
		if got := isOpen(tt.proto, b.buf[unix.SizeofNlMsghdr:]); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
