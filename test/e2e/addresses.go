package e2e

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
)

// Addresses: of nodes and the control plane, of pods, of Services. The guest's scripts get
// the prefixes; its nodes end with .1N and :1N.
const (
	prefix4, prefix6     = "192.168.60", "fd00:60:"
	pods4, pods6         = "10.244", "fd44"
	podCIDR4, podCIDR6   = pods4 + ".0.0/16", pods6 + "::/16"
	services4, services6 = "10.96.0.0/16", "fd96::/112"
	apiService4          = "10.96.0.1"
	dnsService4          = "10.96.0.10"
	control4             = prefix4 + ".1"
	machine4             = prefix4 + ".2"
	tap                  = "tap0"
	apiPort, etcdPort    = "6443", "2379"
	commandPort          = "2222"
	shellPort            = "2223"
)

func apiAddress() string { return net.JoinHostPort(control4, apiPort) }

func nodeName(number int) string { return fmt.Sprintf("node%d", number) }

// nodeNumber is the last letter of a node's name.
func nodeNumber(name string) string { return strings.TrimPrefix(name, "node") }

func nodeAddress(name string) string { return prefix4 + ".1" + nodeNumber(name) }

// families joins the IPv4 text and, if there is one, the IPv6 text.
func (c *Cluster) families(v4, v6 string) string {
	if c.DualStack {
		return v4 + "," + v6
	}
	return v4
}

// podCIDRs returns the addresses of a node's pods.
func (c *Cluster) podCIDRs(name string) []string {
	n := nodeNumber(name)
	return strings.Split(c.families(pods4+"."+n+".0/24", pods6+":"+n+"::/64"), ",")
}

// network prepares the namespace of the control plane: it has its own way to every pod.
func (c *Cluster) network(ctx context.Context) error {
	lines := []string{
		"ip link set lo up",
		"ip address add " + client4 + "/32 dev lo",
		"ip tuntap add dev " + nowhere + " mode tap",
		"ip link set " + nowhere + " up",
		"ip route add " + loadBalancers + "0/24 dev " + nowhere + " src " + client4,
		// User-Mode Linux loses packets that are longer than its buffers, so that they
		// must not be joined: half of all were sent again, and bbr, where the machine
		// has that, came down to a byte a millisecond for the API server's messages to
		// a node.
		"ip tuntap add dev " + tap + " mode tap",
		"ip link set " + tap + " gso_max_segs 1",
		"sysctl -qw net.ipv4.tcp_congestion_control=reno",
		"ip address add " + control4 + "/24 dev " + tap,
		"ip address add " + prefix6 + ":1/64 dev " + tap + " nodad",
		"ip link set " + tap + " up",
		"sysctl -qw net.ipv4.ip_forward=1 net.ipv4.fib_multipath_hash_policy=1",
	}
	for _, name := range c.names() {
		n := nodeNumber(name)
		lines = append(lines,
			"ip route add "+pods4+"."+n+".0/24 via "+nodeAddress(name),
			"ip route add "+pods6+":"+n+"::/64 via "+prefix6+":1"+n)
	}
	out, err := exec.CommandContext(ctx, "sh", "-ec", strings.Join(lines, "\n")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("prepare the network: %w: %s", err, out)
	}
	return nil
}
