package testbed

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
)

// Bridge is how the node's pods are joined by one.
type Bridge struct {
	Hairpin   bool // its ports let a packet go back out where it came in
	Netfilter bool // br_netfilter has iptables see bridged packets, as kubeadm wants it
}

const bridge4, bridge6 = "10.244.0.1", "fd44::1"

// Bridge moves the pods of the node from links of their own to a bridge, cni0, as
// the bridge plugin and flannel have them: they reach each other past the node's
// routing. It returns the bridge's addresses, which are the node's for its pods.
func (b *Bed) Bridge(ctx context.Context, how Bridge) (*Host, error) {
	var s strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	w("ip link add cni0 address 02:00:00:00:00:c1 type bridge; sysctl -qw net.ipv6.conf.cni0.accept_dad=0")
	w("ip addr add %s/24 dev cni0; ip -6 addr add %s/112 dev cni0 nodad; ip link set cni0 up", bridge4, bridge6)
	w("sysctl -qw net.bridge.bridge-nf-call-iptables=%[1]d net.bridge.bridge-nf-call-ip6tables=%[1]d", number(how.Netfilter))
	for _, p := range pods {
		if p.on == "node" {
			w("ip addr flush dev v%[1]s; ip route flush dev v%[1]s; ip -6 route flush dev v%[1]s", p.name)
			w("ip link set v%[1]s master cni0; ip link set v%[1]s type bridge_slave hairpin %[2]s", p.name, map[bool]string{true: "on", false: "off"}[how.Hairpin])
			w("ip -n %[1]s addr flush dev eth0 scope global", p.name)
			w("ip -n %[1]s addr add %[2]s/24 dev eth0; ip -n %[1]s -6 addr add %[3]s/112 dev eth0 nodad", p.name, p.v4, p.v6)
			w("ip -n %[1]s route replace default via %[2]s; ip -n %[1]s -6 route replace default via %[3]s", p.name, bridge4, bridge6)
		}
	}
	gateway := &Host{Name: "cni0", IPv4: netip.MustParseAddr(bridge4), IPv6: netip.MustParseAddr(bridge6)}
	if _, err := b.Node.Shell(ctx, s.String()); err != nil {
		return nil, err
	}
	return gateway, b.ready(ctx)
}

// Unbridge gives the pods their own links again.
func (b *Bed) Unbridge(ctx context.Context) error {
	var s strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	w("ip link del cni0")
	for _, p := range pods {
		if p.on == "node" {
			w("ip -n %[1]s addr flush dev eth0 scope global", p.name)
			w("ip -n %[1]s addr add %[2]s/32 dev eth0; ip -n %[1]s -6 addr add %[3]s/128 dev eth0 nodad", p.name, p.v4, p.v6)
			uplink(w, p.name)
			w("ip addr flush dev v%[1]s", p.name)
			route(w, p.spec, lan[0], "ip")
		}
	}
	if _, err := b.Node.Shell(ctx, s.String()); err != nil {
		return err
	}
	return b.ready(ctx)
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
