package netutil

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// nat is an entry to create: client asks dst, endpoint answers.
type nat struct {
	proto                 uint8
	client, dst, endpoint string
	replied               bool
}

func createNAT(b *Batch, n nat) {
	client, dst, end := netip.MustParseAddrPort(n.client), netip.MustParseAddrPort(n.dst), netip.MustParseAddrPort(n.endpoint)
	ctnetlink(b, ctNew, unix.NLM_F_CREATE|unix.NLM_F_EXCL, family(dst.Addr()))
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

func openConntrack(t testing.TB) *Conntrack {
	t.Helper()
	c, err := OpenConntrack()
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (c *Conntrack) list(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, fam := range []uint8{unix.AF_INET, unix.AF_INET6} {
		must(t, c.dump(fam, func(e entry) { out = append(out, fmt.Sprintf("%d %s %s", e.proto, e.dst, e.end)) }))
	}
	slices.Sort(out)
	return out
}

var entries = []nat{
	{17, "10.1.0.1:1000", "10.96.0.10:53", "10.2.0.1:5353", false},
	{17, "10.1.0.2:1000", "10.96.0.10:53", "10.2.0.2:5353", false},
	{17, "10.1.0.3:1000", "10.96.0.10:54", "10.2.0.1:5353", false},
	{17, "10.1.0.4:1000", "10.96.0.11:53", "10.2.0.1:5354", false},
	{6, "10.1.0.1:1000", "10.96.0.10:53", "10.2.0.1:5353", false},
	{132, "10.1.0.1:1000", "10.96.0.10:53", "10.2.0.1:5353", false},
	{132, "10.1.0.1:1000", "10.96.0.10:54", "10.2.0.1:5354", false},
	{17, "[fd01::1]:1000", "[fd96::10]:53", "[fd02::1]:5353", false},
	{17, "[fd01::1]:1001", "[fd96::11]:53", "[fd02::1]:5353", false},
	{17, "10.1.0.5:1000", "10.96.0.10:55", "10.2.0.1:5355", true},
	{17, "10.1.0.6:1000", "10.96.0.10:55", "10.2.0.1:5355", false},
}

func TestDeleteFlows(t *testing.T) {
	ap := netip.MustParseAddrPort
	tests := []struct {
		name  string
		flows []Flow
		gone  []int
	}{
		{"nothing", []Flow{{Proto: 17, Dst: ap("10.9.9.9:53")}}, nil},
		{"destination", []Flow{{Proto: 17, Dst: ap("10.96.0.10:53")}}, []int{0, 1}},
		{"destination of any port", []Flow{{Proto: 17, Dst: ap("10.96.0.10:0")}}, []int{0, 1, 2, 9, 10}},
		{"answered or not", []Flow{{Proto: 17, Dst: ap("10.96.0.10:55")}}, []int{9, 10}},
		{"unanswered", []Flow{{Proto: 17, Dst: ap("10.96.0.10:55"), Unreplied: true}}, []int{10}},
		{"port of any address", []Flow{{Proto: 17, Dst: ap("0.0.0.0:53")}}, []int{0, 1, 3}},
		{"endpoint", []Flow{{Proto: 17, Dst: ap("0.0.0.0:0"), Endpoint: ap("10.2.0.1:5353")}}, []int{0, 2}},
		{"endpoint of any protocol", []Flow{{Proto: 0, Dst: netip.AddrPort{}, Endpoint: ap("10.2.0.2:0")}}, []int{1}},
		{"both", []Flow{{Proto: 17, Dst: ap("10.96.0.10:53"), Endpoint: ap("10.2.0.1:5353")}}, []int{0}},
		{"TCP", []Flow{{Proto: 6, Dst: ap("10.96.0.10:53")}}, []int{4}},
		{"SCTP, whose ports the kernel's filter does not compare", []Flow{{Proto: 132, Dst: ap("10.96.0.10:54")}}, []int{6}},
		{"SCTP of any port", []Flow{{Proto: 132, Dst: ap("10.96.0.10:0")}}, []int{5, 6}},
		{"IPv6", []Flow{{Proto: 17, Dst: ap("[fd96::10]:53")}}, []int{7}},
		{"IPv6 endpoint", []Flow{{Proto: 17, Dst: ap("[::]:0"), Endpoint: ap("[fd02::1]:5353")}}, []int{7, 8}},
		{"several", []Flow{{Proto: 17, Dst: ap("10.96.0.11:53")}, {Proto: 17, Dst: ap("[fd96::11]:53")}}, []int{3, 8}},
	}
	for _, kernel := range []support{yes, no} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s/filter=%v", tt.name, kernel == yes), func(t *testing.T) {
				for _, f := range tt.flows {
					if err := probeFilter(filter{f.family(), f.Unreplied}); kernel == yes && err != nil {
						t.Skip(err) // a fact of the kernel, in a lab too
					}
				}
				inNetns(t, func() { testDeleteFlows(t, kernel, tt.flows, tt.gone) })
			})
		}
	}
}

func testDeleteFlows(t *testing.T, kernel support, flows []Flow, gone []int) {
	c := openConntrack(t)
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		c.filters[filter{family, false}], c.filters[filter{family, true}] = kernel, kernel
	}
	var b Batch
	for _, n := range entries {
		createNAT(&b, n)
	}
	must(t, errors.Join(c.conn.Exec(&b)...))
	var want []string
	for i, n := range entries {
		if !slices.Contains(gone, i) {
			want = append(want, fmt.Sprintf("%d %s %s", n.proto, n.dst, n.endpoint))
		}
	}
	slices.Sort(want)
	must(t, errors.Join(c.DeleteFlows(flows)...))
	if got := c.list(t); !slices.Equal(got, want) {
		t.Errorf("left\n%q, want\n%q", got, want)
	}
	if n := c.Deleted(); kernel == no && n != uint64(len(gone)) {
		t.Errorf("counted %d deleted, want %d", n, len(gone))
	}
	must(t, errors.Join(c.DeleteFlows(flows)...)) // again: nothing to do is no error
}

func TestDeleteFlowsManyUseOneDump(t *testing.T) {
	inNetns(t, func() {
		c := openConntrack(t)
		var b Batch
		var flows []Flow
		for i := range 600 {
			dst := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), 53)
			createNAT(&b, nat{17, fmt.Sprintf("10.1.0.1:%d", 1000+i), dst.String(), "10.2.0.1:53", false})
			if i%2 == 0 {
				flows = append(flows, Flow{Proto: 17, Dst: dst})
			}
		}
		must(t, errors.Join(c.conn.Exec(&b)...))
		before := c.Stats()
		must(t, errors.Join(c.DeleteFlows(flows)...))
		if got := len(c.list(t)); got != 300 {
			t.Errorf("%d left, want 300", got)
		}
		if c.Deleted() != 300 {
			t.Errorf("counted %d deleted, want 300", c.Deleted())
		}
		if got := c.Stats().Sends - before.Sends; got > 4 { // a dump, the deletions, and the two dumps of this test
			t.Errorf("%d sends", got)
		}
	})
}

func TestDeleteFlowsRefusesWhatIsTooWide(t *testing.T) {
	ap := netip.MustParseAddrPort
	good := Flow{Proto: 17, Dst: ap("10.9.9.9:53")}
	flows := []Flow{
		{},
		{Proto: 17, Dst: netip.AddrPort{}},
		{Proto: 17, Dst: ap("0.0.0.0:0")},
		{Proto: 17, Dst: ap("0.0.0.0:0"), Endpoint: ap("0.0.0.0:0")},
		{Proto: 0, Dst: ap("10.0.0.1:53")},
		{Proto: 17, Dst: ap("10.0.0.1:53"), Endpoint: ap("[fd00::1]:53")},
		{Proto: 17, Dst: ap("[::ffff:10.0.0.1]:53")},
		good,
	}
	inNetns(t, func() {
		errs := openConntrack(t).DeleteFlows(flows)
		for i, f := range flows {
			if (errs[i] == nil) != (f == good) {
				t.Errorf("%v: %v", f, errs[i])
			}
		}
	})
}

// TestFilterWithoutFilter shows that a kernel which does not know CTA_FILTER
// takes the request for an exact entry, and refuses it.
func TestFilterWithoutFilter(t *testing.T) {
	inNetns(t, func() {
		c := openConntrack(t)
		var b Batch
		for _, n := range entries {
			createNAT(&b, n)
		}
		must(t, errors.Join(c.conn.Exec(&b)...))
		for _, f := range []Flow{
			{Proto: 17, Dst: netip.MustParseAddrPort("10.96.0.10:53")},
			{Dst: netip.MustParseAddrPort("10.96.0.10:0")},
			{Proto: 17, Endpoint: netip.MustParseAddrPort("[fd02::1]:5353")},
		} {
			b.Reset()
			ctnetlink(&b, ctDelete, 0, f.family())
			tuple{proto: f.Proto, dst: f.Dst}.add(&b, ctaTupleOrig)
			tuple{proto: f.Proto, src: f.Endpoint}.add(&b, ctaTupleReply)
			if err := errors.Join(c.conn.Exec(&b)...); !errors.Is(err, unix.EINVAL) {
				t.Errorf("%v: %v, want EINVAL", f, err)
			}
		}
		if got := len(c.list(t)); got != len(entries) {
			t.Errorf("%d entries left of %d", got, len(entries))
		}
	})
}

func BenchmarkDeleteFlows(b *testing.B) {
	for _, n := range []int{1, 4, 16, 64} {
		for _, kernel := range []support{yes, no} {
			b.Run(fmt.Sprintf("flows=%d/filter=%v", n, kernel == yes), func(b *testing.B) {
				benchmarkDelete(b, n, kernel)
			})
		}
	}
}

func benchmarkDelete(b *testing.B, n int, kernel support) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		newNetns(b)
		c := openConntrack(b)
		var batch Batch
		service := netip.MustParseAddrPort("10.96.0.1:53")
		for i := range 50000 {
			createUDP(&batch, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 1), Flow{Proto: 17, Dst: service, Endpoint: service})
		}
		must(b, errors.Join(c.conn.Exec(&batch)...))
		var flows []Flow
		var which []int
		for i := range n {
			flows = append(flows, Flow{Proto: 17, Dst: netip.AddrPortFrom(netip.MustParseAddr("10.96.0.2"), uint16(i+1))})
			which = append(which, i)
		}
		errs := make([]error, n)
		start := time.Now()
		for range b.N {
			if kernel == yes {
				c.deleteByFilter(flows, which, errs)
			} else {
				c.deleteByScan(flows, which, errs)
			}
		}
		b.ReportMetric(float64(time.Since(start).Microseconds())/float64(b.N), "us/call")
		must(b, errors.Join(errs...))
	}()
	<-done
}

// Open finds what goes on, and not what waits or is over.
func TestOpenFlows(t *testing.T) {
	inNetns(t, func() {
		c := openConntrack(t)
		var b Batch
		createNAT(&b, nat{6, "10.1.0.1:1000", "10.96.0.20:80", "10.2.0.1:8080", true})
		createNAT(&b, nat{6, "[fd01::1]:1000", "[fd96::20]:80", "[fd02::1]:8080", true})
		createNAT(&b, nat{17, "10.1.0.1:1000", "10.96.0.20:53", "10.2.0.1:5353", true}) // answered once
		must(t, errors.Join(c.conn.Exec(&b)...))
		var got []string
		for _, family := range []int{4, 6} {
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
