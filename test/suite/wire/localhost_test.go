package wire

import (
	"net/netip"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// localhost returns a Service's node port on the loopback addresses.
func localhost(s testbed.Service) testbed.Frontend {
	port := s.NodePort().V4.Port()
	return testbed.Frontend{Name: "node port of localhost", V4: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), V6: netip.AddrPortFrom(netip.IPv6Loopback(), port)}
}

// TestLocalhost asks node ports at loopback addresses, which alone serve them here:
// they are relayed as the node's own packets, however these are treated.
func TestLocalhost(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		all := testbed.Service{Name: "web", Number: 1, Type: "NodePort", Spec: externalLocal, Protocols: []string{"TCP", "UDP", "SCTP"}}
		other := testbed.Service{Name: "other", Number: 2, Type: "NodePort"}
		empty := testbed.Service{Name: "empty", Number: 3, Type: "NodePort"}
		put(t, d, "empty.yaml", bed.With(empty, nil))
		put(t, d, "other.yaml", bed.With(other, testbed.Backends(bed.P2)))
		serve(t, d, testbed.Backends(bed.P1, bed.R1), all)
		web := []testbed.Frontend{localhost(all)}
		answered(t, requests(web, bed.Node), bed.Node, "p1", "r1")
		answered(t, requests([]testbed.Frontend{localhost(other)}, bed.Node), bed.Node, "p2")
		refused(t, 2, requests([]testbed.Frontend{localhost(empty), all.NodePort()}, bed.Node)...)
		refused(t, 1, request{from: bed.Node, network: "sctp", to: web[0].V4}, request{from: bed.Node, network: "sctp", to: web[0].V6})
		refused(t, 1, tcpOnly(requests([]testbed.Frontend{all.NodePort()}, bed.Ext))...)

		// One socket may talk to several node ports: each datagram is that of the one it is sent to.
		for _, four := range families {
			from := testbed.From{Port: 4444}
			for range 2 {
				for f, name := range map[testbed.Frontend]string{localhost(other): "p2", web[0]: ""} {
					a, err := bed.Node.Ask(t.Context(), "udp", f.Addr(four), from)
					if got := testbed.Outcome(a, err); err != nil || (got == "p2") != (name == "p2") {
						t.Errorf("udp from port 4444 to %s: %s", f.Addr(four), got)
					}
				}
			}
		}

		// Flows leave an endpoint that has gone, and connections go on.
		var open []*testbed.Session
		for _, r := range tcpOnly(requests(web, bed.Node)) {
			c, err := bed.Node.Dial(t.Context(), "tcp", r.to, testbed.From{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			open = append(open, c)
		}
		flows := talkers(t, requests(web, bed.Node))
		serve(t, d, testbed.Backends(bed.P2), all)
		for _, f := range flows {
			f.moves(t, "p2", "p1", "r1")
		}
		for _, c := range open {
			if _, err := c.Ask(); err != nil {
				t.Errorf("a connection to %s: %v", c.First.Name, err)
			}
		}
		withdraw(t, d, all)
		refused(t, 1, requests(web, bed.Node)...)
	}, "--nodeport-addresses", "localhost")
}

// TestLocalhostTaken has another program listen where the relay would: it does not get
// the connections to node ports.
func TestLocalhostTaken(t *testing.T) {
	stop, err := bed.Serve(bed.Node, 1024, "another program")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	d := start(t, "--nodeport-addresses", "localhost")
	s := testbed.Service{Name: "web", Number: 1, Type: "NodePort"}
	put(t, d, "web.yaml", bed.With(s, testbed.Backends(bed.P1))) // plan knows of no other program, and wants it relayed
	for _, r := range requests([]testbed.Frontend{s.ClusterIP()}, bed.Node) {
		eventually(t, r.from, r.network, r.to, "p1")
	}
	refused(t, 1, requests([]testbed.Frontend{localhost(s)}, bed.Node)...)
}

// TestLocalhostWithoutDaemon stops kube-ipvs, whose rules stay: a program that then listens where
// the relay did gets the connections, as docs/security.md warns.
func TestLocalhostWithoutDaemon(t *testing.T) {
	d := start(t, "--nodeport-addresses", "localhost")
	s := testbed.Service{Name: "web", Number: 1, Type: "NodePort"}
	serve(t, d, testbed.Backends(bed.P1), s)
	ask := tcpOnly(requests([]testbed.Frontend{localhost(s)}, bed.Node))
	answered(t, ask, bed.Node, "p1")
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	refused(t, 1, ask...)
	stop, err := bed.Serve(bed.Node, 1024, "another program")
	if err != nil {
		t.Fatal(err)
	}
	answered(t, ask, anyone, "another program")
	stop()
	restart(t, d)
	for _, r := range ask { // the relay dials after the first round
		eventually(t, r.from, r.network, r.to, "p1")
	}
}

// TestRouteLocalnet has another program set route_localnet, with which the outside client reaches
// daemons of the node at 127.0.0.1. It does not reach node ports there. kube-ipvs sets it nowhere.
func TestRouteLocalnet(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "web", Number: 1, Type: "NodePort"}
		serve(t, d, testbed.Backends(bed.P1), s)
		at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(localhost(s).V4.Addr(), port) }
		answered(t, []request{{from: bed.Node, network: "tcp", to: localhost(s).V4}}, bed.Node, "p1")
		if set := on(t, bed.Node, "sysctl -a -r 'net.ipv4.conf.*.route_localnet' 2>&1 | grep -v '= 0$' || true"); set != "" {
			t.Errorf("kube-ipvs has set %s", set)
		}
		on(t, bed.Node, "sysctl -qw net.ipv4.conf.all.route_localnet=1")
		undo(t, bed.Node, "sysctl -qw net.ipv4.conf.all.route_localnet=0")
		// The local table comes first, and would keep the packets on the client.
		on(t, bed.Ext, "sysctl -qw net.ipv4.conf.all.route_localnet=1; ip route add 127.0.0.1 via 192.168.50.1 table 77; "+
			"ip rule add pref 1 to 127.0.0.1 lookup 77; ip rule add pref 2 lookup local; ip rule del pref 0")
		undo(t, bed.Ext, "ip rule add pref 0 lookup local; ip rule del pref 2; ip rule del pref 1; ip route flush table 77; sysctl -qw net.ipv4.conf.all.route_localnet=0")
		answered(t, []request{{from: bed.Ext, network: "tcp", to: at(2222)}}, bed.Ext, "daemon of node")
		refused(t, 3, request{from: bed.Ext, network: "tcp", to: localhost(s).V4})
		answered(t, []request{{from: bed.Node, network: "tcp", to: localhost(s).V4}}, bed.Node, "p1")
	}, "--nodeport-addresses", "localhost")
}
