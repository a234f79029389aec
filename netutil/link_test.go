package netutil

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func openLinks(t testing.TB) *Links {
	t.Helper()
	l, err := OpenLinks()
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// addVIPLink makes a link that is down and without ARP, as a dummy device is:
// a dummy device where the kernel has them, else a bridge.
func addVIPLink(t testing.TB, l *Links) int {
	t.Helper()
	index, err := l.CreateDummy("vips", "")
	if errors.Is(err, unix.EOPNOTSUPP) {
		a := netlink.NewLinkAttrs()
		a.Name = "vips"
		br := &netlink.Bridge{LinkAttrs: a}
		must(t, l.handle.LinkAdd(br))
		must(t, l.handle.LinkSetARPOff(br))
		return br.Index
	}
	must(t, err)
	return index
}

// upLink adds a link that is up, with addresses, and returns its index.
func upLink(t testing.TB, l *Links, name string, addrs ...string) int {
	t.Helper()
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU = name, 1400
	must(t, l.handle.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: name + "p"}))
	for _, n := range []string{name + "p", name} {
		link, err := l.handle.LinkByName(n)
		must(t, err)
		must(t, l.handle.LinkSetUp(link))
		a.Index = link.Attrs().Index
	}
	for _, s := range addrs {
		addr, err := netlink.ParseAddr(s)
		must(t, err)
		addr.Flags |= unix.IFA_F_NODAD
		must(t, l.handle.AddrAdd(&netlink.Veth{LinkAttrs: a}, addr))
	}
	return a.Index
}

func up(t testing.TB, l *Links, name string) {
	t.Helper()
	link, err := l.handle.LinkByName(name)
	must(t, err)
	must(t, l.handle.LinkSetUp(link))
}

// Whether the kernel has dummy devices is found out without making one.
func TestHasDummies(t *testing.T) {
	inNetns(t, func() {
		l, err := OpenLinks()
		must(t, err)
		defer l.Close()
		before, err := l.devices() // lo, and what the kernel gives each namespace
		must(t, err)
		has, err := l.HasDummies()
		must(t, err)
		if after, err := l.devices(); err != nil || !reflect.DeepEqual(after, before) {
			t.Errorf("left %v, %v; before %v", after, err, before)
		}
		if _, err := l.CreateDummy("vips", ""); (err == nil) != has {
			t.Errorf("it says %t, and to make one: %v", has, err)
		}
	})
}

// Who asks for lists together costs one of each, and the next time they are new.
func TestTogether(t *testing.T) {
	inNetns(t, func() {
		l := openLinks(t)
		dumps := func(f func() error) uint64 {
			t.Helper()
			before := l.Stats().Dumps
			must(t, f())
			return l.Stats().Dumps - before
		}
		source := func() error {
			_, _, err := l.DefaultSource(IPv4, 0)
			return err
		}
		count := 0
		addresses := func() error {
			all, err := l.Addresses()
			count = len(all)
			return err
		}
		must(t, l.Together(func() error {
			first, again, more := dumps(source), dumps(source), dumps(addresses)
			if again != first-2 || more != 0 {
				t.Errorf("%d dumps, then %d, and %d for addresses", first, again, more)
			}
			return nil
		}))
		empty := count
		upLink(t, l, "eth", "192.0.2.1/24")
		must(t, l.Together(addresses))
		if count <= empty || dumps(addresses) != 1 {
			t.Errorf("%d addresses before one was added, and %d after", empty, count)
		}
	})
}

func TestDummy(t *testing.T) {
	inNetns(t, func() {
		l := openLinks(t)
		if _, _, exists, err := l.FindDummy("kube-ipvs0"); exists || err != nil {
			t.Fatalf("found before its creation: %v", err)
		}
		index, err := l.CreateDummy("kube-ipvs0", "ours")
		if errors.Is(err, unix.EOPNOTSUPP) {
			lacks(t, "dummy devices: %v", err)
		}
		must(t, err)
		got, alias, exists, err := l.FindDummy("kube-ipvs0")
		if got != index || alias != "ours" || !exists || err != nil {
			t.Errorf("found %d %q %v %v", got, alias, exists, err)
		}
		devices, err := l.devices()
		must(t, err)
		i := slices.IndexFunc(devices, func(d device) bool { return d.index == index })
		if i < 0 || devices[i].flags&unix.IFF_UP != 0 || devices[i].kind != "dummy" {
			t.Errorf("devices: %+v", devices)
		}
		if _, err := l.CreateDummy("kube-ipvs0", ""); !errors.Is(err, unix.EEXIST) {
			t.Errorf("created twice: %v", err)
		}
		must(t, l.SetAlias(index, "")) // as after a crash
		if _, alias, _, err := l.FindDummy("kube-ipvs0"); alias != Unfinished || err != nil {
			t.Errorf("without its alias: %q %v", alias, err)
		}
		must(t, l.DeleteLink(index))
		must(t, l.DeleteLink(index))
		if _, _, exists, err := l.FindDummy("kube-ipvs0"); exists || err != nil {
			t.Errorf("found after its deletion: %v", err)
		}
	})
}

func TestFindDummyOfAnotherKind(t *testing.T) {
	inNetns(t, func() {
		if _, _, exists, err := openLinks(t).FindDummy("lo"); exists || err != nil {
			t.Errorf("lo passed for a dummy: %v, %v", exists, err)
		}
	})
}

// TestVIP follows a virtual address through its life, on a device that is down.
func TestVIP(t *testing.T) {
	for _, tt := range []struct{ vip, node, subnet string }{
		{"10.96.0.10", "192.168.7.1", "192.168.7.1/24"},
		{"fd96::10", "fd77::1", "fd77::1/64"},
	} {
		t.Run(tt.vip, func(t *testing.T) {
			inNetns(t, func() { testVIP(t, netip.MustParseAddr(tt.vip), netip.MustParseAddr(tt.node), tt.subnet) })
		})
	}
}

func testVIP(t *testing.T, vip, node netip.Addr, subnet string) {
	l := openLinks(t)
	up(t, l, "lo")
	upLink(t, l, "eth", subnet)
	index := addVIPLink(t, l)
	do := func(b *Batch) { t.Helper(); must(t, errors.Join(l.Exec(b)...)) }
	host := netip.PrefixFrom(vip, vip.BitLen())

	var b Batch
	AddVIPRoute(&b, vip, node, 1300)
	AddVIP(&b, index, vip)
	AddVIP(&b, index, vip)                                                                                       // idempotent
	if errs := l.Exec(&b); errs != nil && (!errors.Is(errs[0], unix.ESRCH) || errors.Join(errs[1:]...) != nil) { // there is no route of ours to delete
		t.Fatal(errs)
	}
	addrs, err := l.AddressesOf(index)
	must(t, err)
	if len(addrs) != 1 || addrs[0].Prefix != host || addrs[0].Link != index || !addrs[0].Usable() || !addrs[0].IsVIP() {
		t.Fatalf("addresses: %+v", addrs)
	}
	kernels := func(r LocalRoute) bool { return r.Protocol == unix.RTPROT_KERNEL && r.Link == index }
	for deadline := time.Now().Add(10 * time.Second); !slices.ContainsFunc(vipRoutes(t, l, host), kernels); { // from a work queue
		if time.Now().After(deadline) {
			t.Fatal("the kernel made no route of its own")
		}
	}
	if vip.Is6() {
		b.Reset()
		DeleteKernelRoute(&b, index, vip)
		do(&b)
	}
	b.Reset()
	AddVIP(&b, index, vip) // again: must not bring the kernel's route back
	ReplaceVIPRoute(&b, vip, node, 1300)
	do(&b)
	// Of IPv4 routes the first counts, and the kernel's came after ours.
	r := vipRoutes(t, l, host)
	if len(r) != map[bool]int{true: 2, false: 1}[vip.Is4()] || r[0].Protocol != RouteProtocol || r[0].Link != loopback || r[0].Source != node || r[0].MTU != 1300 || !r[0].MTULocked {
		t.Fatalf("routes: %+v", r)
	}
	got, err := l.handle.RouteGet(vip.AsSlice())
	must(t, err)
	if src, _ := netip.AddrFromSlice(got[0].Src); got[0].Type != unix.RTN_LOCAL || src.Unmap() != node {
		t.Errorf("the kernel takes %v", got)
	}

	b.Reset()
	ReplaceVIPRoute(&b, vip, netip.Addr{}, 0) // takes source and MTU back
	do(&b)
	if r := vipRoutes(t, l, host); r[0].Protocol != RouteProtocol || r[0].Source.IsValid() || r[0].MTU != 0 || r[0].MTULocked {
		t.Errorf("routes without source and MTU: %+v", r)
	}

	b.Reset()
	DeleteVIPRoute(&b, vip)
	DeleteAddress(&b, index, vip)
	do(&b)
	if r := vipRoutes(t, l, host); len(r) != 0 {
		t.Errorf("left behind: %+v", r)
	}
	errs := l.Exec(&b)
	if len(errs) != 2 || !errors.Is(errs[0], unix.ESRCH) || !errors.Is(errs[1], unix.EADDRNOTAVAIL) {
		t.Errorf("deleted again: %v", errs)
	}
}

// A VIP is never the source of what the node sends of its own accord, also by a link
// that has no address: then any address of the node's will do for the kernel.
func TestVIPIsNoSource(t *testing.T) {
	for _, tt := range []struct{ vip, node, pod string }{
		{"10.96.0.10", "192.168.7.1/24", "10.244.0.11"},
		{"fd44::10", "2001:db8::1/64", "fd44::11"}, // more like the pod's address than the node's is
	} {
		t.Run(tt.vip, func(t *testing.T) {
			inNetns(t, func() {
				l := openLinks(t)
				up(t, l, "lo")
				vips, vip := addVIPLink(t, l), netip.MustParseAddr(tt.vip)
				node, pod := netip.MustParsePrefix(tt.node), netip.MustParseAddr(tt.pod)
				upLink(t, l, "eth", tt.node) // made after the device, and looked at after it
				veth := upLink(t, l, "cali")
				var b Batch
				AddVIP(&b, vips, vip)
				must(t, errors.Join(l.Exec(&b)...))
				must(t, l.handle.RouteAdd(&netlink.Route{LinkIndex: veth, Scope: netlink.SCOPE_LINK, Dst: ipNet(netip.PrefixFrom(pod, pod.BitLen()))}))
				got, err := l.handle.RouteGet(pod.AsSlice())
				must(t, err)
				if src, _ := netip.AddrFromSlice(got[0].Src); src.Unmap() != node.Addr() {
					t.Errorf("the kernel sends from %s and not from %s", src, node.Addr())
				}
			})
		})
	}
}

// addAddress adds a request that puts an address on a link, as one of the node's own.
func addAddress(b *Batch, link int, a netip.Addr) {
	address(b, unix.RTM_NEWADDR, replace, link, unix.RT_SCOPE_UNIVERSE, a)
}

func vipRoutes(t *testing.T, l *Links, p netip.Prefix) []LocalRoute {
	t.Helper()
	all, err := l.LocalRoutes()
	must(t, err)
	return slices.DeleteFunc(all, func(r LocalRoute) bool { return r.Dst != p })
}

func TestImageRoute(t *testing.T) {
	inNetns(t, func() {
		l := openLinks(t)
		up(t, l, "lo")
		for _, s := range []string{"10.250.0.0/16", "fd99::/112"} {
			p := netip.MustParsePrefix(s)
			var b Batch
			AddImageRoute(&b, loopback, p)
			AddImageRoute(&b, loopback, p)
			must(t, errors.Join(l.Exec(&b)...))
			if r := vipRoutes(t, l, p); len(r) != 1 || r[0].Protocol != RouteProtocol || r[0].Link != loopback {
				t.Errorf("%s: %+v", s, r)
			}
			b.Reset()
			DeleteImageRoute(&b, loopback, p)
			DeleteImageRoute(&b, loopback, p)
			if errs := l.Exec(&b); len(errs) != 2 || errs[0] != nil || !errors.Is(errs[1], unix.ESRCH) {
				t.Errorf("%s: deleted twice: %v", s, errs)
			}
		}
	})
}

// The kernel itself says from which address packets leave.
func TestDefaultSource(t *testing.T) {
	inNetns(t, func() {
		l := openLinks(t)
		if a, _, err := l.DefaultSource(IPv4, 0); a.IsValid() || err != nil {
			t.Errorf("an empty node has %v, %v", a, err)
		}
		one := upLink(t, l, "one", "10.1.0.1/24", "fd01::1/64")
		// As keepalived has them: host addresses of others' networks, before the link's own.
		two := upLink(t, l, "two", "10.9.0.9/32", "10.2.0.1/24", "10.2.0.2/24", "fd02::1/64")
		check := func(what string, family Family, want string) {
			t.Helper()
			a, mtu, err := l.DefaultSource(family, 0)
			if err != nil || a.String() != want || mtu != 1400 {
				t.Errorf("%s: %s: %v %d %v, want %s", what, family, a, mtu, err, want)
			}
		}
		check("no default route", IPv4, "10.1.0.1")
		check("no default route", IPv6, "fd01::1")
		for _, gw := range []string{"10.2.0.9", "fd02::9"} {
			must(t, l.handle.RouteAdd(&netlink.Route{LinkIndex: two, Gw: netip.MustParseAddr(gw).AsSlice()}))
		}
		check("default route", IPv4, "10.2.0.1")
		check("default route", IPv6, "fd02::1")
		must(t, l.handle.RouteReplace(&netlink.Route{LinkIndex: two, Gw: []byte{10, 2, 0, 9}, Src: []byte{10, 2, 0, 2}}))
		check("preferred source", IPv4, "10.2.0.2")
		must(t, l.handle.RouteReplace(&netlink.Route{LinkIndex: one, Gw: []byte{10, 1, 0, 9}})) // no link changes
		check("another default route", IPv4, "10.1.0.1")
		_, bogons, _ := net.ParseCIDR("203.0.113.0/24")
		must(t, l.handle.RouteAdd(&netlink.Route{Dst: bogons, Type: unix.RTN_BLACKHOLE}))
		check("documentation thrown away", IPv4, "10.1.0.1")

		must(t, l.handle.RouteAdd(&netlink.Route{LinkIndex: two, Gw: []byte{10, 2, 0, 9}, Table: 100}))
		rule := netlink.NewRule()
		rule.Table, rule.Priority, rule.Family = 100, 100, unix.AF_INET
		must(t, l.handle.RuleAdd(rule))
		check("policy routing", IPv4, "10.2.0.1")
		must(t, l.handle.RuleDel(rule))

		// An exit without an address: the kernel takes one of any link, VIPs too.
		none := upLink(t, l, "none")
		must(t, l.handle.RouteReplace(&netlink.Route{LinkIndex: none, Scope: unix.RT_SCOPE_LINK, Dst: &net.IPNet{IP: make(net.IP, 4), Mask: make(net.IPMask, 4)}}))
		check("exit without an address", IPv4, "10.1.0.1")
		if a, _, err := l.DefaultSource(IPv4, one); a.String() != "10.2.0.1" || err != nil {
			t.Errorf("the kernel would take a VIP: %v, %v", a, err)
		}
	})
}

func TestChooseSource(t *testing.T) {
	const vips = 4
	p := netip.MustParsePrefix
	devices := []device{
		{1, unix.IFF_UP | unix.IFF_LOOPBACK, 65536, ""}, {2, unix.IFF_UP, 1500, ""}, {3, unix.IFF_UP, 9000, "veth"},
		{vips, 0, 1500, "dummy"}, {5, 0, 1500, ""}, {6, unix.IFF_UP, 1500, "dummy"},
	}
	global := func(link int, s string) Address { return Address{Link: link, Prefix: p(s)} }
	flagged := func(link int, s string, flags uint32) Address { return Address{link, p(s), 0, flags} }
	via := func(link int, src string) route {
		r := route{}
		r.Link = link
		if src != "" {
			r.Source = netip.MustParseAddr(src)
		}
		return r
	}
	tests := []struct {
		name  string
		addrs []Address
		exit  route
		want  string
		mtu   uint32
	}{
		{"nothing", nil, route{}, "invalid IP", 0},
		{"exit without an address", nil, via(2, ""), "invalid IP", 0},
		{"the kernel's choice", []Address{global(2, "fd02::1/64"), global(2, "fd02::2/64"), global(3, "fd03::1/64")}, via(2, "fd02::2"), "fd02::2", 1500},
		{"that is no address of a link", []Address{global(2, "fd02::1/64")}, via(2, "fd09::1"), "fd09::1", 1500},
		{"that is a VIP", []Address{global(vips, "fd04::1/128"), global(2, "fd02::1/64")}, via(3, "fd04::1"), "fd02::1", 9000},
		{"that is on another dummy", []Address{global(6, "fd06::1/128"), global(2, "fd02::1/64")}, via(3, "fd06::1"), "fd06::1", 9000},
		{"that is temporary", []Address{flagged(2, "fd02::1/64", unix.IFA_F_TEMPORARY), global(2, "fd02::2/64"), global(3, "fd03::1/64")}, via(2, "fd02::1"), "fd02::2", 1500},
		{"that is deprecated", []Address{flagged(2, "fd02::1/64", unix.IFA_F_DEPRECATED), global(3, "fd03::1/64")}, via(2, "fd02::1"), "fd02::1", 1500},
		{"else not temporary, deprecated or tentative", []Address{
			flagged(2, "fd02::1/64", unix.IFA_F_TEMPORARY), flagged(2, "fd02::2/64", unix.IFA_F_DEPRECATED),
			flagged(2, "fd02::3/64", unix.IFA_F_TENTATIVE), global(2, "fd02::4/64")}, via(2, ""), "fd02::4", 1500},
		{"not link-local", []Address{{2, p("fe80::1/64"), unix.RT_SCOPE_LINK, 0}, global(3, "fd03::1/64")}, via(2, ""), "fd03::1", 1500},
		{"subnet before host address", []Address{global(2, "fd02::1/128"), global(3, "fd03::1/64")}, route{}, "fd03::1", 9000},
		{"host address on the exit", []Address{global(2, "fd02::1/128"), global(3, "fd03::1/64")}, via(2, ""), "fd02::1", 1500},
		{"any other before lo", []Address{global(1, "fd0b::1/128"), global(2, "fd02::1/128")}, route{}, "fd02::1", 1500},
		{"never a dummy or a link that is down", []Address{global(6, "fd04::1/64"), global(5, "fd05::1/64")}, route{}, "invalid IP", 0},
		{"the other family", []Address{global(2, "10.0.0.1/24")}, route{}, "invalid IP", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if a, mtu := chooseSource(IPv6, devices, tt.addrs, tt.exit, vips); a.String() != tt.want || mtu != tt.mtu {
				t.Errorf("%v %d, want %s %d", a, mtu, tt.want, tt.mtu)
			}
		})
	}
}
