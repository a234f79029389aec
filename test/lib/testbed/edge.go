package testbed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Edge is what AddEdge adds to the cluster: three nodes that carry what a client sends to
// Services, and a router in front of them.
//
//	far 192.168.60.2 ── router ── lan ──┬─ edge1 192.168.50.11, edge2 .12, edge3 .13
//	                                    └─ node, node2 with the pods
//
// The router spreads the client's TCP flows over the nodes by a hash of addresses and ports, as
// ECMP does. The hosts of the pods send an answer to the node that the client's last packet has
// come by: they note that node's MAC address as the mark of the connection.
type Edge struct {
	Client *Host
	Nodes  []*Host
	router *Host
	bed    *Bed
}

var edges = []spec{{"edge1", "192.168.50.11", "fd50::11"}, {"edge2", "192.168.50.12", "fd50::12"}, {"edge3", "192.168.50.13", "fd50::13"}}

// AddEdge adds a router, a client and three nodes. The node under test becomes a mere host of
// pods with a namespace of its own.
func (b *Bed) AddEdge(ctx context.Context) (*Edge, error) {
	if err := b.RenewNode(ctx); err != nil {
		return nil, err
	}
	out, err := b.AddRouter(ctx)
	if err != nil {
		return nil, err
	}
	e := &Edge{Client: out.Far, router: out.Router, bed: b}
	for _, h := range []*Host{b.Node, b.Node2} {
		if _, err := h.Shell(ctx, answers()); err != nil {
			return nil, err
		}
	}
	if _, err := e.router.Shell(ctx, byMark()); err != nil {
		return nil, err
	}
	return e, e.Renew(ctx)
}

// answers returns what has the host of pods send answers back by the node of the connection.
func answers() string {
	var s strings.Builder
	s.WriteString("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1\n")
	s.WriteString("nft add table inet answers; nft 'add chain inet answers prerouting { type filter hook prerouting priority -150; }'\n")
	for i, e := range edges {
		fmt.Fprintf(&s, "nft add rule inet answers prerouting ether saddr %s ct mark set %d\n", mac(i), i+1)
		fmt.Fprintf(&s, "ip route add default via %s table %d; ip -6 route add default via %s table %d\n", e.v4, table(i), e.v6, table(i))
	}
	s.WriteString("nft add rule inet answers prerouting 'iifname \"v*\" meta mark set ct mark'\n")
	return s.String() + byMark()
}

// byMark returns what has a host route packets with the mark N by the table of number N.
func byMark() string {
	var s strings.Builder
	for i := range edges {
		fmt.Fprintf(&s, "ip rule add fwmark %[1]d lookup %[2]d; ip -6 rule add fwmark %[1]d lookup %[2]d\n", i+1, table(i))
	}
	return s.String()
}

func table(i int) int  { return 101 + i }
func mac(i int) string { return fmt.Sprintf("02:00:00:00:50:%02d", i+1) }

// Renew gives all nodes new namespaces, which know nothing of earlier connections, and spreads
// the flows over all of them. No program may run there.
func (e *Edge) Renew(ctx context.Context) error {
	var s strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	for i, n := range edges {
		if e.Nodes != nil {
			w("ip -n lan link del l%[1]s; ip netns del %[1]s", n.name)
		}
		in := inside(n.name)
		w("ip netns add %s; %s link set lo up", n.name, in)
		w("ip link add l%[1]s netns lan type veth peer name eth0 netns %[1]s; ip -n lan link set l%[1]s master br0 up", n.name)
		w("%s link set eth0 address %s", in, mac(i))
		address(w, n, in)
		nodeRoutes(w, in)
		for _, p := range pods {
			if p.on == "node" {
				w("%s route add %s/32 via %s; %s -6 route add %s/128 via %s", in, p.v4, lan[0].v4, in, p.v6, lan[0].v6)
			}
		}
		w("ip netns exec %s sysctl -qw %s", n.name, noRedirects)
	}
	if err := shell(ctx, s.String()); err != nil {
		return err
	}
	return errors.Join(e.open(), e.Spread(ctx, e.Nodes...))
}

// open opens the namespaces of the nodes, and closes those of earlier ones.
func (e *Edge) open() error {
	for _, old := range e.Nodes {
		e.bed.hosts = slices.DeleteFunc(e.bed.hosts, func(h *Host) bool { return h == old })
		if err := unix.Close(old.ns); err != nil {
			return err
		}
	}
	e.Nodes = nil
	for _, n := range edges {
		h, err := open(n.name)
		if err != nil {
			return err
		}
		e.Nodes = append(e.Nodes, h)
		e.bed.hosts = append(e.bed.hosts, h)
	}
	return nil
}

// Spread cuts the links of all other nodes, and has the router spread the flows over these: each
// gets an equal part of the range of hashes, as by Linux's multipath routes. So flows of nodes
// that stay move, too, when one goes, as with any router without resilient hashing.
func (e *Edge) Spread(ctx context.Context, over ...*Host) error {
	var s, links strings.Builder
	s.WriteString("nft add table inet spread; nft delete table inet spread; nft add table inet spread\n")
	s.WriteString("nft 'add chain inet spread prerouting { type filter hook prerouting priority -150; }'\n")
	for _, ip := range []string{"ip", "ip6"} {
		fmt.Fprintf(&s, "nft add rule inet spread prerouting iifname eth1 meta mark set jhash %[1]s saddr . %[1]s daddr . tcp sport . tcp dport mod %[2]d seed 0x50 offset 1\n", ip, len(over))
	}
	for i, h := range over {
		fmt.Fprintf(&s, "ip route replace default via %[1]s table %[3]d; ip -6 route replace default via %[2]s table %[3]d\n", h.IPv4, h.IPv6, table(i))
	}
	for _, h := range e.Nodes {
		state := "down"
		if slices.Contains(over, h) {
			state = "up"
		}
		fmt.Fprintf(&links, "ip -n lan link set l%s %s\n", h.Name, state)
	}
	if err := shell(ctx, links.String()); err != nil {
		return err
	}
	if _, err := e.router.Shell(ctx, s.String()); err != nil {
		return err
	}
	return e.bed.ready(ctx)
}
