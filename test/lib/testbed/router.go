package testbed

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
)

// Outside is what AddRouter adds to the cluster:
//
//	far 192.168.60.2 ── router 192.168.60.1, 192.168.50.254 ── lan
type Outside struct{ Router, Far *Host }

// Pools that lie outside the LAN: a Service with a number above 12 has its
// load-balancer and external addresses there.
const (
	lbPool4, lbPool6             = "203.0.113.0/24", "fd51::/64"
	externalPool4, externalPool6 = "198.51.100.0/24", "fd52::/64"
)

// AddRouter adds the router that the nodes have their default route by, and a client
// behind it. The router and the client in the LAN send packets for the pools of
// load-balancer and external addresses to the node under test, as a load balancer does
// that announces the node. Node2 becomes a node of its own right: it does not send
// packets for Services to the other node any more.
func (b *Bed) AddRouter(ctx context.Context) (*Outside, error) {
	var s strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	w("ip netns add router; ip netns add far; ip -n router link set lo up; ip -n far link set lo up")
	w("ip link add lrouter netns lan type veth peer name eth0 netns router; ip -n lan link set lrouter master br0 up")
	w("ip link add eth1 netns router type veth peer name eth0 netns far")
	w("ip -n router addr add 192.168.50.254/24 dev eth0; ip -n router -6 addr add fd50::fe/64 dev eth0 nodad; ip -n router link set eth0 up")
	w("ip -n router addr add 192.168.60.1/24 dev eth1; ip -n router -6 addr add fd60::1/64 dev eth1 nodad; ip -n router link set eth1 up")
	w("ip -n far addr add 192.168.60.2/24 dev eth0; ip -n far -6 addr add fd60::2/64 dev eth0 nodad; ip -n far link set eth0 up")
	w("ip -n far route add default via 192.168.60.1; ip -n far -6 route add default via fd60::1")
	w("ip netns exec router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0")
	for _, ns := range []string{"router", "ext"} {
		w("ip -n %s route add 192.168.50.192/27 via 192.168.50.1 2>/dev/null || true; ip -n %s -6 route add fd50::200/121 via fd50::1 2>/dev/null || true", ns, ns)
		for _, pool := range []string{lbPool4, externalPool4} {
			w("ip -n %s route add %s via 192.168.50.1", ns, pool)
		}
		for _, pool := range []string{lbPool6, externalPool6} {
			w("ip -n %s -6 route add %s via fd50::1", ns, pool)
		}
	}
	for _, p := range pods {
		via4, via6 := "192.168.50.1", "fd50::1"
		if p.on == "node2" {
			via4, via6 = "192.168.50.3", "fd50::3"
		}
		w("ip -n router route add %s/32 via %s; ip -n router -6 route add %s/128 via %s", p.v4, via4, p.v6, via6)
	}
	w("ip -n ext route add 192.168.60.0/24 via 192.168.50.254; ip -n ext -6 route add fd60::/64 via fd50::fe")
	w("ip -n node2 route add default via 192.168.50.254; ip -n node2 -6 route add default via fd50::fe")
	w("ip -n node2 route del 10.96.0.0/16; ip -n node2 route del 192.168.50.192/27; ip -n node2 -6 route del fd96::/112; ip -n node2 -6 route del fd50::200/121")
	w("ip netns exec node2 sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0")
	if err := shell(ctx, s.String()); err != nil {
		return nil, err
	}
	out := &Outside{}
	for name, h := range map[string]**Host{"router": &out.Router, "far": &out.Far} {
		var err error
		if *h, err = open(name); err != nil {
			return nil, err
		}
		b.hosts = append(b.hosts, *h)
	}
	return out, b.ready(ctx)
}

var outside = []spec{{"router", "192.168.50.254", "fd50::fe"}, {"far", "192.168.60.2", "fd60::2"}}

// pooled returns address number of a pool.
func pooled(pool string, number int) string {
	prefix := netip.MustParsePrefix(pool)
	if prefix.Addr().Is4() {
		a := prefix.Addr().As4()
		a[3] = byte(number)
		return netip.AddrFrom4(a).String()
	}
	a := prefix.Addr().As16()
	a[15] = byte(number)
	return netip.AddrFrom16(a).String()
}
