package wire

import (
	"strings"
	"syscall"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// TestOneHalf has the outside client reach an address of node2 by way of the
// node, and its answers go past it: conntrack can place nothing of that but the
// first packet. Such packets are dropped where NAT would have to know them, with
// image, until the node says that it takes all TCP packets: by the flag, or by a
// sysctl that another program has set at any time.
func TestOneHalf(t *testing.T) {
	far := ap("10.9.9.9:2222")
	on(t, bed.Node2, "ip addr add 10.9.9.9/32 dev lo")
	on(t, bed.Node, "ip route add 10.9.9.9 via 192.168.50.3; sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0")
	on(t, bed.Ext, "ip route add 10.9.9.9 via 192.168.50.1")
	undo(t, bed.Node2, "ip addr del 10.9.9.9/32 dev lo")
	undo(t, bed.Node, "ip route del 10.9.9.9; sysctl -qw net.ipv4.conf.all.send_redirects=1 net.ipv4.conf.eth0.send_redirects=1")
	undo(t, bed.Ext, "ip route del 10.9.9.9")
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		serve(t, d, testbed.Backends(bed.P1), testbed.Service{Name: "web", Number: 1})
		if strings.HasSuffix(t.Name(), "/image") {
			lost(t, request{from: bed.Ext, network: "tcp", to: far})
		}
		on(t, bed.Node, "sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=1")
		undo(t, bed.Node, "sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=0")
		if err := syscall.Kill(d.PID(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, bed.Ext, "tcp", far, "daemon of node2")
	})
	d := start(t, "--conntrack-tcp-be-liberal")
	undo(t, bed.Node, "sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=0")
	settled(t, d)
	answered(t, []request{{from: bed.Ext, network: "tcp", to: far}}, bed.Ext, "daemon of node2")
}
