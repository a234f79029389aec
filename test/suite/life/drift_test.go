package life

import (
	"fmt"
	"strings"
	"testing"
)

// damage is a change by another program to an object of kube-ipvs.
type damage struct {
	name   string
	do     string
	found  string // how a line that the log says of it must begin
	writes int    // at most so many mend it
	only   string // mode or binding in which it makes sense
}

// SERVER stands for the virtual server of ClusterIP 10.96.0.10.
var damages = []damage{
	{name: "virtual server deleted", do: "ipvsadm -D -t SERVER:80", found: "virtual server SERVER:80/tcp is gone", writes: 4},
	{name: "scheduler changed", do: "ipvsadm -E -t SERVER:80 -s lc -b flag-3", found: "virtual server SERVER:80/tcp was changed", writes: 1},
	{name: "affinity added", do: "ipvsadm -E -t SERVER:80 -s rr -p 99 -b flag-3", found: "virtual server SERVER:80/tcp was changed", writes: 1},
	{name: "real server deleted", do: "ipvsadm -d -t SERVER:80 -r 10.244.0.2:8080", found: "real server 10.244.0.2:8080 of SERVER:80/tcp is gone", writes: 1},
	{name: "real server added", do: "ipvsadm -a -t SERVER:80 -r 10.244.0.77:8080 -m", found: "real server 10.244.0.77:8080 of SERVER:80/tcp was added", writes: 1},
	{name: "weight changed", do: "ipvsadm -e -t SERVER:80 -r 10.244.0.2:8080 -m -w 5", found: "real server 10.244.0.2:8080 of SERVER:80/tcp was changed", writes: 1},
	{name: "all of IPVS cleared", do: "ipvsadm -C", found: "virtual server ", writes: 175 + 13},
	{name: "set flushed", do: "ipset flush KIPVS-CLUSTER", found: "entry KIPVS-CLUSTER 10.96.0.10,tcp:80 is gone", writes: 20 + 8},
	{name: "entry deleted", do: "ipset del KIPVS-ALL 10.96.0.10,tcp:80", found: "entry KIPVS-ALL 10.96.0.10,tcp:80 is gone", writes: 1},
	{name: "entry of an address deleted", do: "ipset del KIPVS-VIPS 10.96.0.10", found: "entry KIPVS-VIPS 10.96.0.10 is gone", writes: 1},
	{name: "entry added", do: "ipset add KIPVS-REJECT 10.96.0.10,tcp:80", found: "entry KIPVS-REJECT 10.96.0.10,tcp:80 was added", writes: 1},
	{name: "entry of a network added", do: "ipset add KIPVS-NODEPORT-REJECT 10.0.0.0/8,udp:99", found: "entry KIPVS-NODEPORT-REJECT 10.0.0.0/8,udp:99 was added", writes: 1},
	{name: "comment changed", do: "ipset add -exist KIPVS-ALL 10.96.0.10,tcp:80 comment nonsense", found: "entry KIPVS-ALL 10.96.0.10,tcp:80 was changed", writes: 1},
	{name: "address deleted", do: "ip addr del 10.96.0.10/32 dev kube-ipvs0", found: "vip 10.96.0.10 ", writes: 1, only: "address"},
	{name: "IPv6 address deleted", do: "ip -6 addr del fd96::a/128 dev kube-ipvs0", found: "vip fd96::a ", writes: 1, only: "address"},
	{name: "route of an address deleted", do: "ip route del local 10.96.0.10 table local", found: "vip 10.96.0.10 ", writes: 1},
	{name: "IPv6 route of an address deleted", do: "ip -6 route del local fd96::a table local", found: "vip fd96::a ", writes: 1},
	{name: "route of an address changed", do: "ip route replace local 10.96.0.10 dev kube-ipvs0 table local proto 77 src 127.0.0.1", found: "vip 10.96.0.10 was changed", writes: 1},
	{name: "route of images deleted", do: "ip route del local 240.0.0.0/5 table local", found: "route local 240.0.0.0/5 is gone", writes: 1},
	{name: "IPv6 route of images deleted", do: "ip -6 route del local 4000::/3 table local", found: "route local 4000::/3 is gone", writes: 1},
	{name: "rule deleted", do: "iptables -t nat -D KIPVS-NAT 2", found: "rules IPv4 was changed", writes: 1},
	{name: "rule added", do: "ip6tables -A KIPVS6-FWD -j DROP", found: "rules IPv6 was changed", writes: 1},
	{name: "rules in another order", do: "iptables -t nat -D KIPVS-POST 1; iptables -t nat -A KIPVS-POST -m set --match-set KIPVS-HAIRPIN dst,dst,src -j MASQUERADE", found: "rules IPv4 was changed", writes: 2},
	{name: "rule inserted", do: "iptables -t nat -I KIPVS-NAT 3 -j RETURN", found: "rules IPv4 was changed", writes: 1},
	{name: "rule replaced", do: "ip6tables -t mangle -R KIPVS6-PRE 2 -d fd00::/8 -j DROP", found: "rules IPv6 was changed", writes: 1},
	{name: "rule that iptables cannot express added", do: "nft add rule ip nat KIPVS-NAT meta mark 1234 numgen random mod 2 vmap '{ 0 : accept, 1 : drop }'", found: "rules IPv4 was changed", writes: 1},
	{name: "jump added", do: "iptables -I FORWARD -j KIPVS-FWD", found: "rules IPv4 was changed", writes: 1},
	{name: "jump deleted", do: "iptables -t nat -D PREROUTING -j KIPVS-NAT", found: "rules IPv4 was changed", writes: 1},
	{name: "jumps in another order", do: "iptables -t mangle -D OUTPUT -j KIPVS-PRE; iptables -t mangle -I OUTPUT -j KIPVS-PRE", found: "rules IPv4 was changed: ! mangle OUTPUT: the jumps are in another order", writes: 2},
	{name: "chain flushed", do: "iptables -t mangle -F KIPVS-PRE", found: "rules IPv4 was changed", writes: 1},
	{name: "tables flushed", do: "iptables-save | sed -n '/^[*]/p; /^:KIPVS/p; /^COMMIT/p' | iptables-restore", found: "rules IPv4 was changed", writes: 1},
	{name: "our table of nftables deleted", do: "nft delete table ip kube-ipvs", found: "rules IPv4 was changed", writes: 1},
	{name: "device deleted", do: "ip link del kube-ipvs0", found: "link kube-ipvs0 is gone", writes: 1 + 22},
	{name: "sysctl of IPVS changed", do: "sysctl -qw net.ipv4.vs.conntrack=0", found: "net.ipv4.vs.conntrack was changed", writes: 1},
	{name: "forwarding switched off", do: "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0", found: "net.ipv4.ip_forward was changed", writes: 2},
	{name: "timeout of IPVS changed", do: "ipvsadm --set 77 0 0", found: "ipvs tcp timeout was changed", writes: 1, only: "direct"},
}

// Settings are not in snapshots.
const settings = `
sysctl net.ipv4.vs.conntrack net.ipv4.vs.expire_nodest_conn net.ipv4.vs.expire_quiescent_template net.ipv4.ip_forward net.ipv6.conf.all.forwarding
ipvsadm -l --timeout`

// The audit finds, names and repairs damage, and writes nothing else.
func TestDriftIsMended(t *testing.T) {
	inModes(t, func(t *testing.T, n *node) {
		n.enrich()
		d := n.start("--audit-period", "1s")
		n.settled()
		want, set := n.snapshot(), n.sh(settings)
		for _, dm := range damages {
			if dm.only == "" || dm.only == n.mode || dm.only == n.binding {
				t.Run(dm.name, func(t *testing.T) {
					at := *n // failures are this subtest's
					at.t = t
					dm.check(&at, &daemon{Daemon: d.Daemon, n: &at}, want, set)
				})
			}
		}
		d.stop()
	})
}

func (dm damage) check(n *node, d *daemon, want snapshot, set string) {
	server := strings.NewReplacer("SERVER", n.server(10))
	since := len(d.records())
	n.sh("%s", server.Replace(dm.do))
	d.awaitRecord(since, func(r record) bool {
		return strings.HasPrefix(r.Msg, "drift") && strings.HasPrefix(r.What, server.Replace(dm.found)) && r.Level == "WARN"
	})
	n.await(func() error {
		if diff := difference(want, n.snapshot()); diff != "" {
			return fmt.Errorf("not mended:\n%s", diff)
		}
		if now := n.sh(settings); now != set {
			return fmt.Errorf("the settings are not mended: %s", now)
		}
		return nil
	})
	writes := 0
	for _, r := range rounds(d.records()[since:]) {
		writes += r.Writes
		if r.Failed != 0 {
			n.t.Errorf("%d writes failed", r.Failed)
		}
	}
	if writes == 0 || writes > dm.writes {
		n.t.Errorf("%d writes mended it, want 1 to %d", writes, dm.writes)
	}
}
