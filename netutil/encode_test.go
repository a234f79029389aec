package netutil

import (
	"bytes"
	"math"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// golden builds a message with the netlink library.
func golden(typ, flags int, header nl.NetlinkRequestData, attrs ...*nl.RtAttr) []byte {
	req := nl.NewNetlinkRequest(typ, flags)
	req.Seq, req.Pid = 0, 0
	req.Flags &^= unix.NLM_F_ACK
	req.AddData(header)
	for _, a := range attrs {
		req.AddData(a)
	}
	return req.Serialize()
}

func ifAddr(family, scope uint8, bits uint8, index uint32) *nl.IfAddrmsg {
	m := nl.NewIfAddrmsg(int(family))
	m.Prefixlen, m.Scope, m.Index = bits, scope, index
	return m
}

func local(family, bits, protocol, scope uint8) *nl.RtMsg {
	return &nl.RtMsg{RtMsg: unix.RtMsg{Family: family, Dst_len: bits, Table: unix.RT_TABLE_LOCAL, Protocol: protocol, Scope: scope, Type: unix.RTN_LOCAL}}
}

func TestEncoders(t *testing.T) {
	v4, v6, node := netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd96::10"), netip.MustParseAddr("192.168.0.1")
	attr, u32 := nl.NewRtAttr, nl.Uint32Attr
	const create = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	metrics := attr(unix.RTA_METRICS|unix.NLA_F_NESTED, nil)
	metrics.AddRtAttr(unix.RTAX_LOCK, u32(1<<unix.RTAX_MTU))
	metrics.AddRtAttr(unix.RTAX_MTU, u32(1300))
	tests := []struct {
		name string
		add  func(b *Batch)
		want [][]byte
	}{
		{"VIP", func(b *Batch) { AddVIP(b, 7, v4) }, [][]byte{
			golden(unix.RTM_NEWADDR, create, ifAddr(2, unix.RT_SCOPE_HOST, 32, 7), attr(unix.IFA_LOCAL, v4.AsSlice()), attr(unix.IFA_ADDRESS, v4.AsSlice()),
				attr(unix.IFA_FLAGS, u32(unix.IFA_F_NOPREFIXROUTE)))}},
		{"IPv6 VIP", func(b *Batch) { AddVIP(b, 7, v6) }, [][]byte{
			golden(unix.RTM_NEWADDR, create, ifAddr(10, 0, 128, 7), attr(unix.IFA_LOCAL, v6.AsSlice()), attr(unix.IFA_ADDRESS, v6.AsSlice()),
				attr(unix.IFA_FLAGS, u32(unix.IFA_F_NODAD|unix.IFA_F_NOPREFIXROUTE)),
				attr(unix.IFA_CACHEINFO, slices.Concat(u32(0), u32(math.MaxUint32), u32(0), u32(0))))}},
		{"deleted address", func(b *Batch) { DeleteAddress(b, 7, v6) }, [][]byte{
			golden(unix.RTM_DELADDR, 0, ifAddr(10, 0, 128, 7), attr(unix.IFA_LOCAL, v6.AsSlice()), attr(unix.IFA_ADDRESS, v6.AsSlice()))}},
		{"route", func(b *Batch) { AddVIPRoute(b, v4, node, 1300) }, [][]byte{
			golden(unix.RTM_DELROUTE, 0, local(2, 32, 77, unix.RT_SCOPE_HOST), attr(unix.RTA_DST, v4.AsSlice()), attr(unix.RTA_OIF, u32(1))),
			golden(unix.RTM_NEWROUTE, unix.NLM_F_CREATE, local(2, 32, 77, unix.RT_SCOPE_HOST), attr(unix.RTA_DST, v4.AsSlice()), attr(unix.RTA_OIF, u32(1)),
				attr(unix.RTA_PREFSRC, node.AsSlice()), metrics)}},
		{"IPv6 route", func(b *Batch) { AddVIPRoute(b, v6, netip.Addr{}, 0) }, [][]byte{
			golden(unix.RTM_NEWROUTE, create, local(10, 128, 77, 0), attr(unix.RTA_DST, v6.AsSlice()), attr(unix.RTA_OIF, u32(1)))}},
		{"another route", func(b *Batch) { ReplaceVIPRoute(b, v4, netip.Addr{}, 0) }, [][]byte{
			golden(unix.RTM_NEWROUTE, create, local(2, 32, 77, unix.RT_SCOPE_HOST), attr(unix.RTA_DST, v4.AsSlice()), attr(unix.RTA_OIF, u32(1)))}},
		{"deleted route", func(b *Batch) { DeleteVIPRoute(b, v4) }, [][]byte{
			golden(unix.RTM_DELROUTE, 0, local(2, 32, 77, unix.RT_SCOPE_HOST), attr(unix.RTA_DST, v4.AsSlice()))}},
		{"deleted route of a link", func(b *Batch) { DeleteVIPRouteOf(b, 7, v4) }, [][]byte{
			golden(unix.RTM_DELROUTE, 0, local(2, 32, 77, unix.RT_SCOPE_HOST), attr(unix.RTA_DST, v4.AsSlice()), attr(unix.RTA_OIF, u32(7)))}},
		{"deleted route of the kernel", func(b *Batch) { DeleteKernelRoute(b, 7, v6) }, [][]byte{
			golden(unix.RTM_DELROUTE, 0, local(10, 128, unix.RTPROT_KERNEL, 0), attr(unix.RTA_DST, v6.AsSlice()), attr(unix.RTA_OIF, u32(7)))}},
		{"image route, masked", func(b *Batch) { AddImageRoute(b, 1, netip.MustParsePrefix("10.9.8.7/16")) }, [][]byte{
			golden(unix.RTM_NEWROUTE, create, local(2, 16, 77, unix.RT_SCOPE_HOST), attr(unix.RTA_DST, []byte{10, 9, 0, 0}), attr(unix.RTA_OIF, u32(1)))}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b Batch
			tt.add(&b)
			got := b.Messages()
			if len(got) != len(tt.want) {
				t.Fatalf("%d requests, want %d", len(got), len(tt.want))
			}
			for i := range got {
				if !bytes.Equal(got[i], tt.want[i]) {
					t.Errorf("request %d:\n got %x\nwant %x", i, got[i], tt.want[i])
				}
			}
		})
	}
}

// FuzzParse feeds garbage to all that reads the kernel's messages.
func FuzzParse(f *testing.F) {
	var b Batch
	AddVIP(&b, 7, netip.MustParseAddr("fd96::10"))
	ReplaceVIPRoute(&b, netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("192.168.0.1"), 1300)
	createNAT(&b, nat{17, "10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3", true})
	for _, m := range b.Messages() {
		f.Add(m)
		f.Add(m[unix.SizeofNlMsghdr:])
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		seen := 0
		for a, rest, ok := NextAttr(p); ok; a, rest, ok = NextAttr(rest) {
			if seen += unix.SizeofNlAttr + len(a.Data); seen > len(p) {
				t.Fatal("more came out than went in")
			}
		}
		parse := func(p []byte) {
			if a, ok := parseAddress(p); ok && !a.Prefix.IsValid() {
				t.Fatal("an invalid address passed")
			}
			if r, ok := parseRoute(p); ok && !r.Dst.IsValid() {
				t.Fatal("an invalid route passed")
			}
			if e, ok := parseEntry(p); ok && (!e.Dst.Addr().IsValid() || e.id == nil) {
				t.Fatal("an invalid entry passed")
			} else if ok {
				isOpen(e.Proto, p)
			}
			parseDevice(p)
			_ = errno(p)
		}
		parse(p)
		_ = walk(p, func(_ unix.NlMsghdr, data []byte) error { parse(data); return nil })
	})
}

// What a batch takes until it is full goes in one send.
func TestFull(t *testing.T) {
	for _, size := range []int{20, 100, 400} {
		b := &Batch{}
		for !b.Full() {
			b.Begin(0, 0, make([]byte, size)...)
		}
		if n := b.Len(); n > maxRequests || b.end(n-1) > maxBytes || n < maxRequests && b.end(n-1) < maxBytes-1024 {
			t.Errorf("full with %d requests of %d bytes", n, size)
		}
	}
}
