package ipvs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

func svc4() *moby.Service {
	return &moby.Service{Address: net.IPv4(10, 96, 0, 1), Protocol: 6, Port: 443, SchedName: "rr", Flags: 0x21, Timeout: 10800}
}

// The bytes on the wire, once by hand: header, genlmsghdr, then attributes
// (length, type, data), little endian as on the machines that run this.
func TestGoldenBytes(t *testing.T) {
	c := &Client{family: 0x21}
	var b netutil.Batch
	c.NewService(&b, svc4())
	v6 := &moby.Service{Address: net.ParseIP("fd00::1"), Protocol: 17, Port: 53, SchedName: "x"}
	c.SetDest(&b, v6, &moby.Destination{Address: net.ParseIP("fd00::2"), Port: 5353, Weight: 1})
	c.DelService(&b, &moby.Service{FWMark: 7, AddressFamily: unix.AF_INET6})
	c.SetService(&b, v6)
	want := []string{
		"5c000000 2100 0100 00000000 00000000" +
			"01 01 0000" +
			"4800 0180" +
			"0600 0100 0200 0000" +
			"0600 0200 0600 0000" +
			"0800 0300 0a600001" +
			"0600 0400 01bb 0000" +
			"0700 0600 727200 00" +
			"0c00 0700 21000000 ffffffff" +
			"0800 0800 302a0000" +
			"0800 0900 ffffffff",
		"8c000000 2100 0100 00000000 00000000" +
			"06 01 0000" +
			"3000 0180" +
			"0600 0100 0a00 0000" +
			"0600 0200 1100 0000" +
			"1400 0300 fd000000000000000000000000000001" +
			"0600 0400 0035 0000" +
			"4800 0280" +
			"0600 0b00 0a00 0000" +
			"1400 0100 fd000000000000000000000000000002" +
			"0600 0200 14e9 0000" +
			"0800 0300 00000000" +
			"0800 0400 01000000" +
			"0800 0500 00000000" +
			"0800 0600 00000000",
		"28000000 2100 0100 00000000 00000000" +
			"03 01 0000" +
			"1400 0180" +
			"0600 0100 0a00 0000" +
			"0800 0500 07000000",
		"68000000 2100 0100 00000000 00000000" +
			"02 01 0000" +
			"5400 0180" +
			"0600 0100 0a00 0000" +
			"0600 0200 1100 0000" +
			"1400 0300 fd000000000000000000000000000001" +
			"0600 0400 0035 0000" +
			"0600 0600 7800 0000" +
			"0c00 0700 00000000 ffffffff" +
			"0800 0800 00000000" +
			"0800 0900 80000000", // for IPv6 a prefix length
	}
	for i, m := range b.Messages() {
		got, want := hex.EncodeToString(m), strings.ReplaceAll(want[i], " ", "")
		if got != want {
			t.Errorf("request %d\n got %s\nwant %s", i, got, want)
		}
	}
}

func TestKeyOf(t *testing.T) {
	for want, s := range map[ServiceKey]*moby.Service{
		{Proto: 6, Addr: netip.MustParseAddrPort("10.96.0.1:443")}:      svc4(),
		{Proto: 17, Addr: netip.MustParseAddrPort("[fd00::1]:53")}:      {Address: net.ParseIP("fd00::1"), Protocol: 17, Port: 53},
		{FWMark: 7, Addr: netip.MustParseAddrPort("0.0.0.0:0")}:         {FWMark: 7, AddressFamily: unix.AF_INET},
		{FWMark: 7, Addr: netip.MustParseAddrPort("[::]:0")}:            {FWMark: 7, AddressFamily: unix.AF_INET6},
		{Proto: 6, Addr: netip.MustParseAddrPort("[::ffff:1.2.3.4]:1")}: {Address: net.ParseIP("1.2.3.4"), AddressFamily: unix.AF_INET6, Protocol: 6, Port: 1},
	} {
		if got := KeyOf(s); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

func TestError(t *testing.T) {
	for no := range words {
		err := Error(fmt.Errorf("lost: %w", no))
		if !errors.Is(err, no) || err.Error() != words[no] || Error(err) != err { //nolint:errorlint // the very same
			t.Errorf("%d: %v", no, err)
		}
	}
	for _, err := range []error{nil, netutil.ErrUnknownFate, unix.EBUSY} {
		if got := Error(err); got != err { //nolint:errorlint // the very same
			t.Errorf("%v became %v", err, got)
		}
	}
}

// Any message is read without a panic, and never as an object without an address.
func FuzzParseNetlink(f *testing.F) {
	c := &Client{family: 0x21}
	var b netutil.Batch
	c.NewService(&b, svc4())
	c.SetDest(&b, svc4(), &moby.Destination{Address: net.ParseIP("fd00::2"), Port: 5353, Weight: 1})
	for _, m := range b.Messages() {
		f.Add(m[unix.SizeofNlMsghdr:])
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if s, _, err := parseService(p); err == nil && !KeyOf(&s).Addr.IsValid() {
			t.Errorf("%+v", s)
		}
		if d, err := parseDest(p); err == nil && !d.Addr.IsValid() {
			t.Errorf("%+v", d)
		}
		parseStats(p)
	})
}
