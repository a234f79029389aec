package hostile

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// situation is something that happens to a node and is not kube-ipvs's doing.
type situation struct {
	name    string
	binding string                  // the one that it is about; empty: both
	hurt    string                  // script that brings it about
	then    func(*testing.T, *node) // work that a script cannot do
	restart bool                    // kube-ipvs is started again in it
	slow    bool                    // no notification tells of it: it is played once a mode
	own     bool                    // it needs a kernel of the lab's own
	heal    string                  // script that ends it
}

var situations = []situation{
	{
		name: "IPv6 is switched off", restart: true,
		hurt: "sysctl -qw net.ipv6.conf.all.disable_ipv6=1",
		heal: "sysctl -qw net.ipv6.conf.all.disable_ipv6=0; ip -6 addr add fd50::1/64 dev eth0 nodad; ip -6 route add default via fd50::fe",
	},
	{
		name: "a kept sysctl is changed", restart: true,
		hurt: "sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=4321; kill -HUP $(pgrep -x kube-ipvs)",
		heal: "sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=86400",
	},
	{
		name: "the kernel refuses an endpoint", restart: true,
		hurt: `cat >$DIR/.odd <<END
apiVersion: v1
kind: Service
metadata: {name: odd}
spec: {clusterIP: 10.96.0.99, ports: [{name: tcp, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: odd-1, labels: {kubernetes.io/service-name: odd}}
addressType: IPv4
ports: [{name: tcp, port: 8080}]
endpoints: [{addresses: [192.168.50.255]}, {addresses: [10.244.0.11]}]
END
mv $DIR/.odd $DIR/odd.yaml`,
		then: func(t *testing.T, n *node) {
			n.await(t, func() error {
				_, err := bed.C1.Ask(t.Context(), "tcp", testbed.Service{Number: 1}.ClusterIP().V4, testbed.From{})
				return err
			})
			n.await(t, func() error { return n.said("192.168.50.255:8080") })
		},
		heal: "rm $DIR/odd.yaml",
	},
	{
		name: "a foreign table that iptables cannot print", restart: true,
		hurt: "nft 'add table ip raw; add chain ip raw ODD; add rule ip raw ODD numgen random mod 2 vmap { 0 : accept, 1 : drop }'",
		heal: "nft delete table ip raw",
	},
	{
		// iptables-nft-save begins anew at each change of nftables, whosever it is.
		name: "many foreign rules, and a program that changes nftables all the time", restart: true,
		hurt: `(echo '*nat'; echo ':FOREIGN - [0:0]'; for i in $(seq 5000); do echo "-A FOREIGN -d 198.51.100.1 -p tcp --dport $i -j ACCEPT"; done; echo COMMIT) | iptables-nft-restore --noflush
touch $TOOLS/churn
(while [ -e $TOOLS/churn ]; do nft 'add table inet churn; delete table inet churn'; sleep 0.05; done) >/dev/null 2>&1 &
iptables-nft -t nat -F KIPVS-NAT; kill -HUP $(pgrep -x kube-ipvs)`,
		heal: "rm $TOOLS/churn; iptables-nft -t nat -F FOREIGN; iptables-nft -t nat -X FOREIGN",
	},
	{
		name: "iptables hangs",
		hurt: "touch $TOOLS/hang; iptables-nft -F KIPVS-REFUSE; kill -HUP $(pgrep -x kube-ipvs)",
		then: func(t *testing.T, n *node) {
			n.change(t)
			n.notLost(t)
			began := time.Now()
			if err := n.Stop(); err != nil {
				t.Errorf("SIGTERM does not end it: %v", err)
			}
			t.Logf("SIGTERM ended it after %s", time.Since(began))
			n.on(t, "rm %s/hang", n.tools)
			if err := n.Restart(); err != nil {
				t.Fatal(err)
			}
			n.await(t, n.ready)
		},
	},
	{name: "routes are flushed", hurt: "ip route flush table local proto 77; ip -6 route flush table local proto 77"},
	{name: "addresses are flushed", binding: "address", hurt: "ip addr flush dev kube-ipvs0"},
	{name: "the device is deleted", hurt: "ip link del kube-ipvs0"},
	{
		name: "kube-ipvs0 is a device of another program", restart: true,
		hurt: "ip link del kube-ipvs0; ip link add kube-ipvs0 type bridge; ip route flush table local proto 77",
		heal: "ip link del kube-ipvs0",
	},
	{name: "virtual servers are cleared", slow: true, hurt: "ipvsadm -C"},
	{name: "rules are flushed", hurt: "for t in mangle nat filter; do iptables -t $t -F; ip6tables -t $t -F; done"},
	{name: "nft flushes its ruleset", hurt: "nft flush ruleset"},
	{name: "a set is emptied", slow: true, hurt: "ipset flush KIPVS-CLUSTER"},
	{
		name: "another program's virtual server is in the way", restart: true,
		hurt: "ipvsadm -A -t 242.96.0.98:80 -s rr; ipvsadm -A -t 10.96.0.98:80 -s rr",
		then: func(t *testing.T, n *node) {
			n.put(t, "taken.yaml", strings.ReplaceAll(bed.With(testbed.Service{Name: "taken", Number: 12}, testbed.Backends(bed.P1)), "10.96.0.112", "10.96.0.98"))
			n.await(t, func() error { return n.said("an object that kube-ipvs does not manage is in the way") })
		},
		heal: "ipvsadm -D -t 242.96.0.98:80; ipvsadm -D -t 10.96.0.98:80; rm $DIR/taken.yaml",
	},
	{
		name: "clients hold thousands of connections",
		then: func(t *testing.T, n *node) {
			held := hold(t, 2000, "POST /healthz HTTP/1.1\r\nHost: node\r\nContent-Length: 1000\r\n\r\n")
			defer held()
			n.change(t)
			n.notLost(t)
		},
	},
	{
		name: "the clock jumps", own: true,
		hurt: "date -s '+5 hours' >/dev/null",
		heal: "date -s '-5 hours' >/dev/null",
	},
	{
		name: "a tenant asks for too much", restart: true,
		then: func(t *testing.T, n *node) {
			n.put(t, "greedy.yaml", greedy(60, 200))
			for range 5 { // others' changes meanwhile
				began := time.Now()
				n.change(t)
				t.Logf("another tenant's Service answers after %s", time.Since(began))
				n.notLost(t)
			}
		},
		heal: "rm $DIR/greedy.yaml",
	},
}

// said returns an error until kube-ipvs has logged a text.
func (n *node) said(text string) error {
	if !strings.Contains(n.Log(), text) {
		return fmt.Errorf("the log does not say %q", text)
	}
	return nil
}

// greedy is a Service with that many ports at that many addresses from outside.
func greedy(ports, addresses int) string {
	var out strings.Builder
	out.WriteString("apiVersion: v1\nkind: Service\nmetadata: {name: greedy, namespace: tenant}\nspec:\n  clusterIP: 10.96.0.97\n  externalIPs:\n")
	for i := range addresses {
		fmt.Fprintf(&out, "  - 192.0.2.%d\n", i+1)
	}
	out.WriteString("  ports:\n")
	for i := range ports {
		fmt.Fprintf(&out, "  - {name: p%d, port: %d}\n", i, 1000+i)
	}
	return out.String()
}

// hold opens connections to the address of the probes that say something and then
// nothing more.
func hold(t *testing.T, n int, says string) (release func()) {
	var held []net.Conn
	err := bed.Node.Do(func() error {
		for range n {
			c, err := net.DialTimeout("tcp", "127.0.0.1:10256", 5*time.Second)
			if err != nil {
				return err
			}
			held = append(held, c)
			if _, err := c.Write([]byte(says)); err != nil {
				continue // it was closed in favour of others, which is as well
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return func() {
		for _, c := range held {
			_ = c.Close()
		}
	}
}
