package netutil

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// watching runs Watch in a new network namespace, with lo up and a link called
// "vips", calls the next step each time that it tells something, and ends it after
// the last.
func watching(t *testing.T, steps ...func(*Links, Changes)) {
	t.Helper()
	inNetns(t, func() {
		l := openLinks(t)
		up(t, l, "lo")
		addVIPLink(t, l)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		at := 0
		err := Watch(ctx, "vips", func(c Changes) {
			steps[at](l, c)
			if at++; at == len(steps) {
				cancel()
				steps = append(steps, func(*Links, Changes) {})
			}
		})
		if err != nil || at < len(steps)-1 {
			t.Errorf("%d of %d steps, %v", at, len(steps), err)
		}
	})
}

func TestWatchFacts(t *testing.T) {
	own := func(l *Links, b *Batch) { must(t, errors.Join(l.Exec(b)...)) }
	facts := func(c Changes) {
		t.Helper()
		if !c.Facts || c.Device || c.More {
			t.Errorf("heard %+v", c)
		}
	}
	watching(t,
		func(l *Links, c Changes) { // it listens
			facts(c)
			var b Batch
			for i := range 200 { // one burst, one call
				addAddress(&b, loopback, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
			}
			own(l, &b)
		},
		func(l *Links, c Changes) {
			facts(c)
			upLink(t, l, "eth", "192.168.7.1/24")
		})
}

// What we write ourselves, and routes of others, are not heard of; what others do
// to ours is.
func TestWatchRoutes(t *testing.T) {
	for _, vip := range []string{"10.96.0.10/32", "fd96::10/128"} {
		dst := netip.MustParsePrefix(vip)
		route := func(mod func(*netlink.Route)) *netlink.Route {
			r := &netlink.Route{LinkIndex: loopback, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Protocol: RouteProtocol, Dst: ipNet(dst)}
			if dst.Addr().Is4() {
				r.Scope = unix.RT_SCOPE_HOST
			}
			mod(r)
			return r
		}
		own := func(l *Links) {
			var b Batch
			ReplaceVIPRoute(&b, dst.Addr(), netip.Addr{}, 0)
			ReplaceVIPRoute(&b, dst.Addr(), netip.Addr{}, 1400)
			must(t, errors.Join(l.Exec(&b)...))
		}
		lost := func(c Changes) {
			t.Helper()
			if c.Device || c.Facts || c.More || !slices.Equal(c.Lost, []netip.Prefix{dst}) {
				t.Errorf("%s: heard %+v", vip, c)
			}
		}
		watching(t,
			func(l *Links, _ Changes) {
				own(l)
				var b Batch
				DeleteVIPRoute(&b, dst.Addr())
				must(t, errors.Join(l.Exec(&b)...))
				own(l)
				for i := range 100 { // a daemon that learns routes, and forgets them
					r := &netlink.Route{LinkIndex: loopback, Dst: ipNet(netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), 0}), 24))}
					must(t, l.handle.RouteAdd(r))
					must(t, l.handle.RouteReplace(r))
					must(t, l.handle.RouteDel(r))
				}
				must(t, l.handle.RouteDel(route(func(*netlink.Route) {})))
			},
			func(l *Links, c Changes) {
				lost(c)
				own(l)
				must(t, l.handle.RouteReplace(route(func(r *netlink.Route) { r.MTU = 1300 })))
			},
			func(l *Links, c Changes) {
				lost(c)
				must(t, l.handle.RouteReplace(route(func(r *netlink.Route) { r.Protocol = unix.RTPROT_STATIC })))
			},
			func(l *Links, c Changes) {
				lost(c)
				must(t, l.handle.RouteAdd(&netlink.Route{LinkIndex: loopback, Dst: ipNet(netip.PrefixFrom(dst.Addr(), 0).Masked())}))
			},
			func(_ *Links, c Changes) {
				if !c.Facts || c.Device || c.More || len(c.Lost) > 0 {
					t.Errorf("a default route: heard %+v", c)
				}
			})
	}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Of the device only what is taken away is heard of.
func TestWatchDevice(t *testing.T) {
	first, second := netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("10.96.0.11")
	gone := netip.MustParseAddr("192.168.7.1")
	device := func(l *Links) netlink.Link {
		link, err := l.handle.LinkByName("vips")
		must(t, err)
		return link
	}
	fill := func(l *Links, device int, vips ...netip.Addr) {
		var b Batch
		for _, vip := range vips {
			AddVIP(&b, device, vip)
		}
		must(t, errors.Join(l.Exec(&b)...))
	}
	watching(t,
		func(l *Links, _ Changes) {
			fill(l, device(l).Attrs().Index, first, second)
			var b Batch
			DeleteAddress(&b, device(l).Attrs().Index, second)
			must(t, errors.Join(l.Exec(&b)...))
			must(t, l.handle.LinkSetAlias(device(l), "ours"))
			must(t, l.handle.AddrDel(device(l), &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(first, 32))}))
		},
		func(l *Links, c Changes) {
			if c.Device || c.Facts || c.More || !slices.Equal(c.Lost, []netip.Prefix{netip.PrefixFrom(first, 32)}) {
				t.Errorf("an address taken off: heard %+v", c)
			}
			must(t, l.handle.LinkSetUp(device(l)))
		},
		func(l *Links, c Changes) {
			if !c.Device {
				t.Errorf("set up: heard %+v", c)
			}
			index := upLink(t, l, "eth", netip.PrefixFrom(gone, 24).String())
			must(t, l.handle.AddrDel(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Index: index}}, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(gone, 24))}))
		},
		func(l *Links, c Changes) {
			if !c.Facts || !slices.Equal(c.Lost, []netip.Prefix{netip.PrefixFrom(gone, 32)}) {
				t.Errorf("an address of another link taken off: heard %+v", c)
			}
			must(t, l.handle.LinkDel(device(l)))
		},
		func(l *Links, c Changes) {
			if !c.Device {
				t.Errorf("deleted: heard %+v", c)
			}
			fill(l, addVIPLink(t, l), first) // it is known again
			must(t, l.handle.LinkSetDown(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: loopback}}))
		},
		func(_ *Links, c Changes) {
			if !c.Device {
				t.Errorf("lo set down: heard %+v", c)
			}
		})
}

func TestWatchEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	before := openFiles(t)
	must(t, Watch(ctx, "", func(Changes) { cancel() }))
	if after := openFiles(t); after > before {
		t.Errorf("%d files were open, now %d", before, after)
	}
}

// More than can be named, and events that were dropped, are told of.
func TestWatchLosesEvents(t *testing.T) {
	watching(t,
		func(l *Links, c Changes) {
			if c.More {
				t.Error("More before anything happened")
			}
			var b Batch
			for i := range 100 {
				addAddress(&b, loopback, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
				DeleteAddress(&b, loopback, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
			}
			must(t, errors.Join(l.Exec(&b)...))
		},
		func(l *Links, c Changes) {
			if !c.More || len(c.Lost) != mostLost {
				t.Errorf("more than can be named: heard %+v", c)
			}
			var b Batch
			for range 6000 {
				addAddress(&b, loopback, netip.MustParseAddr("10.0.0.1"))
				DeleteAddress(&b, loopback, netip.MustParseAddr("10.0.0.1"))
			}
			must(t, errors.Join(l.Exec(&b)...))
		},
		func(_ *Links, c Changes) { // by a new socket
			if !c.More || !c.Facts {
				t.Errorf("dropped: heard %+v", c)
			}
		})
}

// The kernel lets through what watcher takes an interest in, and little else.
func TestRouteFilter(t *testing.T) {
	const other, boot = 100, 3
	vm, err := bpf.NewVM(deviceFilter(binary.NativeEndian.Uint32([]byte{7, boot, 0, 0}))) // where routes have table and protocol
	must(t, err)
	for _, tt := range []struct {
		typ, flags uint16
		bits       uint8
		table      uint8
		protocol   uint8
		want       bool
	}{
		{unix.RTM_NEWLINK, 0, 0, 0, 0, true},
		{unix.RTM_NEWADDR, 0, 32, 7, boot, false},
		{unix.RTM_NEWADDR, 0, 32, 8, boot, true},
		{unix.RTM_DELADDR, 0, 32, 7, boot, true},
		{unix.RTM_DELROUTE, 0, 32, unix.RT_TABLE_LOCAL, RouteProtocol, true},
		{unix.RTM_DELROUTE, 0, 32, unix.RT_TABLE_LOCAL, unix.RTPROT_KERNEL, false},
		{unix.RTM_DELROUTE, 0, 32, other, RouteProtocol, false},
		{unix.RTM_NEWROUTE, unix.NLM_F_CREATE, 32, unix.RT_TABLE_LOCAL, RouteProtocol, false},
		{unix.RTM_NEWROUTE, unix.NLM_F_REPLACE, 32, unix.RT_TABLE_LOCAL, boot, true},
		{unix.RTM_NEWROUTE, unix.NLM_F_CREATE, 0, unix.RT_TABLE_MAIN, boot, true},
		{unix.RTM_DELROUTE, 0, 0, unix.RT_TABLE_MAIN, boot, true},
		{unix.RTM_DELROUTE, 0, 1, unix.RT_TABLE_MAIN, boot, true},
		{unix.RTM_NEWROUTE, unix.NLM_F_REPLACE, 24, unix.RT_TABLE_MAIN, boot, false},
		{unix.RTM_DELROUTE, 0, 24, unix.RT_TABLE_MAIN, RouteProtocol, false},
		{unix.RTM_NEWROUTE, 0, 0, other, boot, true},
	} {
		var b Batch
		b.Begin(tt.typ, int(tt.flags), unix.AF_INET, tt.bits, 0, 0, tt.table, tt.protocol, 0, 0, 0, 0, 0, 0)
		p := b.Messages()[0]
		binary.NativeEndian.PutUint16(p[6:], tt.flags)
		n, err := vm.Run(p)
		if err != nil || (n > 0) != tt.want {
			t.Errorf("%+v: %d bytes, %v", tt, n, err)
		}
	}
}
