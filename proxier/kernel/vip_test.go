package kernel

import (
	"net/netip"
	"strings"
	"testing"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// A ClusterIP that is also the node's own address, as that of a DNS cache on the
// node, leaves the node's address and its route when it goes, though it was given
// another source meanwhile.
func TestVIPThatIsTheNodes(t *testing.T) {
	needLab(t)
	for how, bare := range map[string]bool{"address": false, "route": true} {
		for _, ip := range []string{"192.0.2.7", "2001:db8::7"} {
			t.Run(how+" "+ip, func(t *testing.T) { inNetns(t, func() { vipThatIsTheNodes(t, bare, netip.MustParseAddr(ip)) }) })
		}
	}
}

func vipThatIsTheNodes(t *testing.T, bare bool, ip netip.Addr) {
	host := netip.PrefixFrom(ip, ip.BitLen()).String()
	sh(t, `ip link set lo up; ip link add eth type dummy; ip link set eth up; ip addr add 192.0.2.1/24 dev eth; ip addr add 192.0.2.2/24 dev eth
ip addr add 2001:db8::1/64 dev eth nodad; ip addr add 2001:db8::2/64 dev eth nodad; ip addr add `+host+` dev eth`)
	family := map[bool]string{true: "-4", false: "-6"}[ip.Is4()]
	routes := func() string { return sh(t, "ip -N "+family+" route show table 255 "+ip.String()) }
	l := openLinux(t, netutil.NFT)
	defer l.Close()
	before := routes()
	id := state.VIPID(ip)
	specs := map[bool][]string{true: {"192.0.2.1", "192.0.2.2"}, false: {"2001:db8::1", "2001:db8::2"}}[ip.Is4()]
	write := func(verb state.Verb, now, old state.SpecRef) {
		t.Helper()
		if errs := l.Apply(ctx, state.Plan{{Verb: verb, ID: id, Spec: now, Old: old}}); errs != nil {
			t.Fatalf("%v: %v", verb, errs)
		}
		read, err := l.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got, there := read.Get(id)
		if there != (verb != state.Delete) || there && !got.Equal(now) {
			t.Errorf("%v: read %v %v, want %v\n%s", verb, there, got.Value(), now.Value(), routes())
		}
	}
	first, second := state.Intern(state.Spec{Source: netip.MustParseAddr(specs[0]), MTU: 1300, Bare: bare}), state.Intern(state.Spec{Source: netip.MustParseAddr(specs[1]), Bare: bare})
	if errs := l.Apply(ctx, state.Plan{{Verb: state.Add, ID: state.LinkID(), Spec: state.None, Old: state.None}, {Verb: state.Add, ID: state.SetID(state.SetVIPs, state.FamilyOf(ip)), Spec: state.None, Old: state.None},
		{Verb: state.Add, ID: state.VIPEntryID(ip), Spec: state.None, Old: state.None}}); errs != nil {
		t.Fatal(errs)
	}
	for range 2 {
		write(state.Add, first, state.None)
		if now := routes(); !strings.Contains(now, strings.TrimSpace(before)) {
			t.Errorf("the node's own route is gone:\n%s\nbefore:\n%s", now, before)
		}
		write(state.Change, second, first)
		write(state.Delete, state.None, second)
		if now := routes(); now != before {
			t.Errorf("left:\n%s\nbefore:\n%s", now, before)
		}
	}
}

// What an earlier kube-ipvs, or a hand, has made of a VIP's address and route is seen
// to be wrong, and mended.
func TestVIPThatIsWrong(t *testing.T) {
	needLab(t)
	for name, how := range map[string]struct{ ip, do string }{
		"route through the device":      {"10.96.0.10", "ip route prepend local 10.96.0.10 dev kube-ipvs0 table local proto 77 src 192.0.2.1; ip route del local 10.96.0.10 dev kube-ipvs0 table local proto kernel"},
		"our route behind the kernel's": {"10.96.0.10", "ip route append local 10.96.0.10 dev lo table local proto 77 src 192.0.2.1"},
		"global address":                {"10.96.0.10", "ip route prepend local 10.96.0.10 dev lo table local proto 77 src 192.0.2.1"},
		"preferred IPv6 address":        {"fd96::a", "ip -6 route add local fd96::a dev lo table local proto 77; ip -6 route del local fd96::a dev kube-ipvs0 table local proto kernel"},
	} {
		t.Run(name, func(t *testing.T) {
			inNetns(t, func() {
				l := openLinux(t, netutil.NFT)
				defer l.Close()
				ip := netip.MustParseAddr(how.ip)
				id, want := state.VIPID(ip), state.Intern(state.Spec{})
				if ip.Is4() {
					want = state.Intern(state.Spec{Source: netip.MustParseAddr("192.0.2.1")})
				}
				sh(t, `ip link add eth type dummy; ip link set eth up; ip addr add 192.0.2.1/24 dev eth; ip link add kube-ipvs0 type dummy alias kube-ipvs
ip addr add `+netip.PrefixFrom(ip, ip.BitLen()).String()+` dev kube-ipvs0; sleep 0.1; `+how.do)
				read := func() (state.SpecRef, bool) {
					s, err := l.Read(ctx)
					if err != nil {
						t.Fatal(err)
					}
					return s.Get(id)
				}
				was, there := read()
				if !there || was.Equal(want) {
					t.Fatalf("read %v, %v", there, was)
				}
				if errs := l.Apply(ctx, state.Plan{{Verb: state.Change, ID: id, Spec: want, Old: was}}); errs != nil {
					t.Fatal(errs)
				}
				if now, there := read(); !there || !now.Equal(want) {
					t.Errorf("read %v, %+v after the repair\n%s", there, now.Value(), sh(t, "ip addr show kube-ipvs0; ip route show table local; ip -6 route show table local"))
				}
			})
		})
	}
}
