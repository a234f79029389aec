package testbed

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// RenewNode gives the node a network namespace of its own that is new, with the
// same links, addresses and routes. No programmed object is left, nor the
// kernel's memory of deleted ones: it looks each new real server up among
// those that were deleted in the last minutes (ip_vs_trash_get_dest). Settings that
// tests have made on the node are gone, too, and no program may run there.
//
// The calling process stays where it is, on a link to the LAN of its own.
func (b *Bed) RenewNode(ctx context.Context) error {
	b.renewed++
	name := fmt.Sprintf("node-%d", b.renewed)
	var s strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	last, in := fmt.Sprintf("ip -n node-%d", b.renewed-1), "ip -n "+name
	w("ip netns add %s; %s link set lo up", name, in)
	if b.renewed == 1 {
		last = inside("node")
	}
	w("%s link set eth0 netns %s", last, name)
	address(w, lan[0], in)
	for _, p := range pods {
		if p.on == "node" {
			w("%s link set v%s netns %s", last, p.name, name)
			route(w, p.spec, lan[0], in)
		}
	}
	nodeRoutes(w, in)
	w("ip netns exec %s sysctl -qw %s", name, noRedirects)
	if b.renewed == 1 {
		w("ip link add lown netns lan type veth peer name own0; ip -n lan link set lown master br0 up")
		w("ip addr add 192.168.50.4/24 dev own0; ip link set own0 up")
	} else {
		w("ip netns del node-%d", b.renewed-1)
	}
	if err := shell(ctx, s.String()); err != nil {
		return err
	}
	node, err := openNamespace("/run/netns/" + name)
	if err != nil {
		return err
	}
	old := b.Node
	b.Node = &Host{Name: old.Name, IPv4: old.IPv4, IPv6: old.IPv6, ns: node, jobs: make(chan job)}
	for i, h := range b.hosts {
		if h == old {
			b.hosts[i] = b.Node
		}
	}
	return errors.Join(unix.Close(old.ns), b.ready(ctx))
}
