package ipvs

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

// isolated gives the test a network namespace of its own and a Client in it.
// The thread is never unlocked, so it ends with the test's goroutine. Where
// the kernel has no IPVS the test is skipped, or fails if IPVS was promised.
func isolated(t testing.TB) *Client {
	t.Helper()
	skip := t.Skipf
	if os.Getenv("KUBE_IPVS_LAB") == "1" {
		skip = t.Fatalf
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		skip("needs root for a network namespace: %v", err)
	}
	c, err := Open()
	if err != nil {
		skip("%v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	loopback(t)
	return c
}

// loopback sets lo up. It makes the namespace's first routes, without which no
// IPv4 address passes for one that a real server can have.
func loopback(t testing.TB) {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer func() { _ = unix.Close(s) }()
	lo, err := unix.NewIfreq("lo")
	must(t, err)
	lo.SetUint16(unix.IFF_UP)
	must(t, unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// exec executes what fill puts into a batch and wants all of it to succeed.
func exec(t testing.TB, c *Client, fill func(b *netutil.Batch)) {
	t.Helper()
	var b netutil.Batch
	fill(&b)
	for i, err := range c.Exec(&b) {
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
}

func newService(addr string, sched string) *moby.Service {
	a := netip.MustParseAddrPort(addr)
	s := &moby.Service{Address: a.Addr().AsSlice(), Protocol: 6, Port: a.Port(), SchedName: sched, AddressFamily: unix.AF_INET, Netmask: 0xffffffff}
	if a.Addr().Is6() {
		s.AddressFamily, s.Netmask = unix.AF_INET6, 128
	}
	return s
}

func newDest(addr string, weight int) *moby.Destination {
	a := netip.MustParseAddrPort(addr)
	return &moby.Destination{Address: a.Addr().AsSlice(), Port: a.Port(), Weight: weight}
}

func services(t testing.TB, c *Client) map[ServiceKey]moby.Service {
	t.Helper()
	all, err := c.Services()
	must(t, err)
	m := map[ServiceKey]moby.Service{}
	for _, s := range all {
		m[KeyOf(&s)] = s
	}
	return m
}

func readTable(t testing.TB) map[ServiceKey][]Dest {
	t.Helper()
	got := map[ServiceKey][]Dest{}
	must(t, ReadTable(collect(got)))
	return got
}

func TestOpenWithoutIPVS(t *testing.T) {
	c, err := Open()
	switch {
	case err == nil:
		must(t, c.findFamily("IPVS"))
		if err := c.findFamily("IPVS-not"); !errors.Is(err, ErrNoIPVS) {
			t.Error(err)
		}
		_ = c.Close()
	case errors.Is(err, ErrNoIPVS), errors.Is(err, ErrNotPermitted):
		t.Log(err)
	default:
		t.Error(err)
	}
}

// Loaded is true just where the kernel has the table of IPVS, before and after.
func TestLoaded(t *testing.T) {
	_, before := os.Stat(tablePath)
	loaded, err := Loaded()
	must(t, err)
	_, after := os.Stat(tablePath)
	if (before == nil) != loaded || (after == nil) != loaded {
		t.Errorf("it is loaded: %t; the table before: %v, and after: %v", loaded, before, after)
	}
	if has, err := hasFamily("nlctrl"); err != nil || !has {
		t.Errorf("the list lacks the family that gives it: %v", err)
	}
}

// In a user namespace of its own even root may not.
func TestNotPermitted(t *testing.T) {
	isolated(t)
	// Threads of a process cannot leave its user namespace, so that the
	// capability is given up instead: what the kernel asks for is the same.
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	must(t, unix.Capset(&hdr, &caps[0]))
	if _, err := Open(); !errors.Is(err, ErrNotPermitted) || !errors.Is(err, unix.EPERM) {
		t.Error(err)
	} else {
		t.Log(err)
	}
}

func TestServiceRoundTrip(t *testing.T) {
	c := isolated(t)
	persistent := newService("10.96.0.10:53", "rr")
	persistent.Protocol, persistent.Flags, persistent.Timeout = 17, 0x21, 10800
	wide := newService("10.96.0.11:53", "wrr")
	wide.Protocol, wide.Flags, wide.Timeout, wide.Netmask = 132, 0x01, 60, 0x00ffffff // 255.255.255.0 in network order
	mark := &moby.Service{FWMark: 7, AddressFamily: unix.AF_INET, SchedName: "rr", Netmask: 0xffffffff}
	mark6 := &moby.Service{FWMark: 7, AddressFamily: unix.AF_INET6, SchedName: "rr", Netmask: 128}
	want := map[ServiceKey]moby.Service{}
	exec(t, c, func(b *netutil.Batch) {
		for _, s := range []*moby.Service{newService("10.96.0.1:443", "rr"), newService("[fd00:10:96::1]:443", "wlc"), persistent, wide, mark, mark6} {
			sent := *s
			if s.Netmask == 128 || s.Netmask == 0xffffffff {
				sent.Netmask = 0
			}
			c.NewService(b, &sent)
			want[KeyOf(s)] = *s
		}
	})
	if diff := cmp.Diff(want, services(t, c), compareAddrs); diff != "" {
		t.Error(diff)
	}
	if got := readTable(t); len(got) != 4 {
		t.Errorf("%d services in the table without firewall marks", len(got))
	}

	// In place: scheduler, flags and timeout change, the destination stays.
	d := newDest("10.244.0.5:53", 1)
	persistent.SchedName, persistent.Flags, persistent.Timeout = "mh", 0x30, 0
	exec(t, c, func(b *netutil.Batch) {
		c.NewDest(b, persistent, d)
		c.SetService(b, persistent)
		c.SetService(b, persistent)
		c.DelService(b, mark6)
	})
	if got := services(t, c); !cmp.Equal(got[KeyOf(persistent)], *persistent) || len(got) != 5 {
		t.Error(cmp.Diff(*persistent, got[KeyOf(persistent)]))
	}
	if got := readTable(t)[KeyOf(persistent)]; !slices.Equal(got, []Dest{dest("10.244.0.5:53", 1, 0, 0)}) {
		t.Error(got)
	}
}

// The kernel keeps IP_VS_SVC_F_SCHED3, which no scheduler reads, with each scheduler,
// through changes, and beside the flags that a scheduler reads.
func TestOwnershipFlag(t *testing.T) {
	c := isolated(t)
	have, err := c.Schedulers([]string{"rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos"})
	must(t, err)
	t.Log("schedulers: ", have)
	for i, name := range have {
		for _, addr := range []string{fmt.Sprintf("10.96.1.%d:80", i), fmt.Sprintf("[fd00:10:96:1::%d]:80", i)} {
			s := newService(addr, name)
			for _, flags := range []uint32{0x20, 0x21, 0x28, 0x30, 0x39, 0x20} {
				s.Flags = flags
				exec(t, c, func(b *netutil.Batch) {
					if flags == 0x20 && s.Timeout == 0 {
						c.NewService(b, s)
					} else {
						c.SetService(b, s)
					}
				})
				s.Timeout = 60
				if got := services(t, c)[KeyOf(s)]; got.Flags != flags {
					t.Errorf("%s: flags %#x became %#x", name, flags, got.Flags)
				}
			}
		}
	}
	if got := services(t, c); len(got) != 2*len(have) {
		t.Errorf("%d services", len(got))
	}
}

func TestExactErrors(t *testing.T) {
	c := isolated(t)
	a, b2, gone := newService("10.96.0.1:80", "rr"), newService("[fd00::1]:80", "rr"), newService("10.96.0.9:80", "rr")
	da, db := newDest("10.244.0.1:80", 1), newDest("[fd00::2]:80", 1)
	steps := []struct {
		do   func(b *netutil.Batch)
		want error
	}{
		{func(b *netutil.Batch) { c.NewService(b, a) }, nil},
		{func(b *netutil.Batch) { c.NewService(b, a) }, unix.EEXIST},
		{func(b *netutil.Batch) { c.NewService(b, b2) }, nil},
		{func(b *netutil.Batch) { c.NewDest(b, a, da) }, nil},
		{func(b *netutil.Batch) { c.NewDest(b, a, da) }, unix.EEXIST},
		{func(b *netutil.Batch) { c.NewDest(b, gone, da) }, unix.ESRCH},
		{func(b *netutil.Batch) { c.NewDest(b, b2, db) }, nil},
		{func(b *netutil.Batch) { c.NewDest(b, b2, da) }, unix.EINVAL}, // mixed families
		{func(b *netutil.Batch) { c.NewDest(b, a, newDest("224.0.0.1:80", 1)) }, unix.EINVAL},
		{func(b *netutil.Batch) { c.NewDest(b, a, newDest("10.244.0.2:80", -1)) }, unix.ERANGE},
		{func(b *netutil.Batch) { c.SetDest(b, a, newDest("10.244.0.1:80", 0)) }, nil},
		{func(b *netutil.Batch) { c.SetDest(b, a, newDest("10.244.0.3:80", 0)) }, unix.ENOENT},
		{func(b *netutil.Batch) { c.DelDest(b, a, newDest("10.244.0.3:80", 0)) }, unix.ENOENT},
		{func(b *netutil.Batch) { c.DelDest(b, b2, db) }, nil},
		{func(b *netutil.Batch) { c.DelService(b, b2) }, nil},
		{func(b *netutil.Batch) { c.DelService(b, b2) }, unix.ESRCH},
		{func(b *netutil.Batch) { c.SetService(b, gone) }, unix.ESRCH},
		{func(b *netutil.Batch) { c.NewService(b, newService("10.96.0.3:80", "none-such")) }, unix.ENOENT},
	}
	var b netutil.Batch
	for _, s := range steps {
		s.do(&b)
	}
	errs := c.Exec(&b)
	for i, s := range steps {
		if !errors.Is(errs[i], s.want) {
			t.Errorf("request %d: %v, want %v", i, errs[i], s.want)
		}
	}
	want := map[ServiceKey][]Dest{KeyOf(a): {dest("10.244.0.1:80", 0, 0, 0)}}
	if diff := cmp.Diff(want, readTable(t), compareAddrs); diff != "" {
		t.Error(diff)
	}
	if _, err := c.Destinations(gone); !errors.Is(err, unix.ESRCH) {
		t.Error(err)
	}
	if s, err := c.Service(gone); !errors.Is(err, unix.ESRCH) {
		t.Error(s, err)
	}
	all, err := c.Services()
	must(t, err)
	for _, want := range all {
		one, err := c.Service(&moby.Service{AddressFamily: want.AddressFamily, Protocol: want.Protocol, Address: want.Address, Port: want.Port})
		if diff := cmp.Diff(want, one, compareAddrs); diff != "" || err != nil {
			t.Error(err, diff)
		}
	}
}

func TestTimeouts(t *testing.T) {
	c := isolated(t)
	must(t, c.SetTimeouts(maxTimeout, maxTimeout, maxTimeout))
	must(t, c.SetTimeouts(900*time.Second, 120*time.Second, 299*time.Second+1))
	must(t, c.SetTimeouts(0, 60*time.Second, 0))
	tcp, fin, udp, err := c.Timeouts()
	if err != nil || tcp != 900*time.Second || fin != 60*time.Second || udp != 300*time.Second {
		t.Error(tcp, fin, udp, err)
	}
	for _, d := range []time.Duration{-1, maxTimeout + 1, math.MaxInt64} {
		if err := c.SetTimeouts(d, 0, 0); err == nil {
			t.Errorf("%v was taken", d)
		}
	}
}

func TestProbeScheduler(t *testing.T) {
	c := isolated(t)
	must(t, c.ProbeScheduler("rr"))
	err := c.ProbeScheduler("xyz")
	if !errors.Is(err, ErrNoScheduler) || !strings.Contains(err.Error(), "modprobe ip_vs_xyz") {
		t.Error(err)
	}
	// A virtual server of another program where the probe would put its own.
	foreign := newService("192.0.2.1:65535", "wrr")
	exec(t, c, func(b *netutil.Batch) { c.NewService(b, foreign) })
	must(t, c.ProbeScheduler("rr"))
	must(t, c.ProbeIPv6("rr"))
	if err := c.ProbeScheduler(strings.Repeat("x", 16)); err == nil {
		t.Error("a name of 16 bytes")
	} else {
		t.Log(err)
	}
	if got := services(t, c); len(got) != 1 || got[KeyOf(foreign)].SchedName != "wrr" {
		t.Errorf("left behind: %v", got)
	}
}

// Traffic through IPVS to a listener of the same namespace shows in the counts.
func TestCounts(t *testing.T) {
	c := isolated(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	svc := newService("127.0.0.2:80", "rr")
	svc.Flags, svc.Timeout = 0x01, 60
	exec(t, c, func(b *netutil.Batch) {
		c.NewService(b, svc)
		c.NewDest(b, svc, newDest(l.Addr().String(), 1))
	})
	conn, err := net.DialTimeout("tcp4", "127.0.0.2:80", 5*time.Second)
	must(t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.Write([]byte("x"))
	must(t, err)
	var got []DestDetail
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		got, err = c.Destinations(svc)
		must(t, err)
		if len(got) != 1 || got[0].Active != 1 || got[0].Persistent != 1 {
			t.Fatalf("%+v", got)
		}
		if s := got[0].Stats; s.Connections == 1 && s.BytesIn > 0 && s.BytesOut > 0 {
			t.Logf("%+v after %v", s, time.Since(start))
			break
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("%+v", got[0].Stats)
		}
	}
	if table := readTable(t)[KeyOf(svc)]; len(table) != 1 || table[0] != got[0].Dest {
		t.Errorf("%+v, want %+v", table, got)
	}
}
