package main

import (
	"context"
	"fmt"
	"strings"

	"kube-ipvs/test/lib/testbed"
)

// hostScenarios are nodes on which others have rules, settings and addresses, too.
func hostScenarios() []Scenario {
	among := func(name string, prepare func(s *Scene) (script, undo string)) Scenario {
		return Scenario{Name: name, Play: func(ctx context.Context, s *Scene) error {
			v := s.Number(testbed.Service{Name: "web", Type: "LoadBalancer"})
			if err := s.Apply(ctx, v, testbed.Backends(s.P1, s.R1)...); err != nil {
				return err
			}
			if err := s.Programmed(ctx); err != nil {
				return err
			}
			script, undo := prepare(s)
			if err := s.Shell(ctx, s.Node, script, undo); err != nil {
				return err
			}
			s.Ask(ctx, "", crossing([]*testbed.Host{s.C1, s.Node}, []testbed.Frontend{v.ClusterIP()}, "tcp", "udp")...)
			s.Ask(ctx, "", crossing([]*testbed.Host{s.C1, s.Node, s.Ext, s.Far}, v.Outside(), "tcp", "udp")...)
			return nil
		}}
	}
	return chapter("Living with others",
		among("INPUT and FORWARD drop by default", dropPolicy),
		among("firewalld", func(*Scene) (string, string) {
			return firewall("ct status dnat accept", "reject with icmpx admin-prohibited")
		}),
		among("a firewall that drops all that is new", func(*Scene) (string, string) { return firewall("", "drop") }),
		among("marks as Calico uses them", calicoMarks),
		among("rp_filter 1 and src_valid_mark 1", reversePath),
		Scenario{Name: "NodeLocal DNSCache", Play: localCache},
		// Late: with direct it ends the connections that are idle in the background.
		Scenario{Name: "an operator runs ipvsadm -C", Play: func(_ context.Context, s *Scene) error {
			s.Later(func(ctx context.Context) error { return cleared(ctx, s) })
			return nil
		}},
		Scenario{Name: "who answers ARP and ND", Play: neighbours},
	)
}

// What rules name that is another in each family.
var (
	placesOf4 = strings.NewReplacer("{pods}", "10.244.0.0/16", "{services}", "10.96.0.0/16", "{p1}", "10.244.0.11", "{p2}", "10.244.0.12:8080", "{c1}", "10.244.0.21",
		"{ext}", "192.168.50.2", "{icmp}", "icmp", "{this-host}", "cali40this-host")
	placesOf6 = strings.NewReplacer("{pods}", "fd44::/64", "{services}", "fd96::/112", "{p1}", "fd44::11", "{p2}", "[fd44::12]:8080", "{c1}", "fd44::21",
		"{ext}", "fd50::2", "{icmp}", "ipv6-icmp", "{this-host}", "cali60this-host")
)

// rules makes a script of rules for both families, and one that removes them.
// Names of chains come first: they are made before, and removed after.
func rules(chains []string, rules ...string) (script, undo string) {
	var on, off strings.Builder
	for _, tool := range []string{"iptables -w", "ip6tables -w"} {
		for _, c := range chains {
			fmt.Fprintf(&on, "%s -t %s\n", tool, strings.Replace(c, " ", " -N ", 1))
		}
		for _, r := range rules {
			words := placesOf4
			if tool == "ip6tables -w" {
				words = placesOf6
			}
			r = words.Replace(r)
			fmt.Fprintf(&on, "%s -t %s\n", tool, strings.Replace(r, " ", " -A ", 1))
			fmt.Fprintf(&off, "%s -t %s\n", tool, strings.Replace(r, " ", " -D ", 1))
		}
		for _, c := range chains {
			fmt.Fprintf(&off, "%s -t %s\n", tool, strings.Replace(c, " ", " -X ", 1))
		}
	}
	return on.String(), off.String()
}

// dropPolicy is a host whose network plugin accepts packets from and to pods.
func dropPolicy(*Scene) (script, undo string) {
	script, undo = rules(nil,
		"filter INPUT -i lo -j ACCEPT", "filter INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "filter INPUT -p {icmp} -j ACCEPT",
		"filter FORWARD -s {pods} -j ACCEPT", "filter FORWARD -d {pods} -j ACCEPT")
	for _, tool := range []string{"iptables -w", "ip6tables -w"} {
		for _, chain := range []string{"INPUT", "FORWARD"} {
			script += fmt.Sprintf("%s -P %s DROP\n", tool, chain)
			undo = fmt.Sprintf("%s -P %s ACCEPT\n", tool, chain) + undo
		}
	}
	return script, undo
}

// firewall is a table of its own, behind those of iptables.
func firewall(accept, last string) (script, undo string) {
	chain := func(hook string) string {
		return fmt.Sprintf(`  chain %s {
    type filter hook %s priority 10; policy accept;
    ct state established,related accept
    %s
    iifname "lo" accept
    meta l4proto { icmp, ipv6-icmp } accept
    tcp dport 22 accept
    %s
  }
`, hook, hook, accept, last)
	}
	return "nft -f - <<'END'\ntable inet host_firewall {\n" + chain("input") + chain("forward") + "}\nEND", "nft delete table inet host_firewall"
}

// calicoMarks are those of Calico's iptables data plane: one, set in table raw, gives
// the source of a packet; others, set in filter, say that a policy accepted it, and
// whose policy.
func calicoMarks(*Scene) (script, undo string) {
	return rules([]string{"raw cali-PREROUTING", "filter cali-FORWARD", "filter cali-INPUT", "filter cali-OUTPUT"},
		"raw PREROUTING -j cali-PREROUTING", "filter FORWARD -j cali-FORWARD", "filter INPUT -j cali-INPUT", "filter OUTPUT -j cali-OUTPUT",
		"raw cali-PREROUTING -j MARK --set-xmark 0x0/0xf0000", "raw cali-PREROUTING -i v+ -j MARK --set-xmark 0x40000/0x40000",
		"filter cali-FORWARD -j MARK --set-xmark 0x0/0xe0000", "filter cali-FORWARD -i v+ -j MARK --set-xmark 0x10000/0x10000",
		"filter cali-FORWARD -o v+ -j MARK --set-xmark 0x10000/0x10000", "filter cali-FORWARD -m mark --mark 0x10000/0x10000 -j ACCEPT",
		"filter cali-INPUT -i v+ -j MARK --set-xmark 0xab00000/0xfff00000", "filter cali-OUTPUT -o v+ -j MARK --set-xmark 0x10000/0x10000")
}

func reversePath(*Scene) (script, undo string) {
	set := func(value int) string {
		return fmt.Sprintf("for f in /proc/sys/net/ipv4/conf/*/rp_filter /proc/sys/net/ipv4/conf/*/src_valid_mark; do echo %d >$f; done", value)
	}
	return set(1), set(0)
}

// localCache has a cache of the node own a ClusterIP and listen there, past
// connection tracking, and then go away.
func localCache(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "dns", Port: 53})
	if err := s.Apply(ctx, v, testbed.Backends(s.P1, s.R1)...); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	at := v.ClusterIP()
	var on, off strings.Builder
	fmt.Fprintf(&on, "ip link add nodelocaldns type dummy\nip addr add %s/32 dev nodelocaldns\nip -6 addr add %s/128 dev nodelocaldns nodad\n", at.V4.Addr(), at.V6.Addr())
	for _, tool := range []string{"iptables", "ip6tables"} {
		for _, proto := range []string{"tcp", "udp"} {
			ip := at.Addr(tool == "iptables").Addr()
			to, from := fmt.Sprintf("-p %s -d %s --dport 53", proto, ip), fmt.Sprintf("-p %s -s %s --sport 53", proto, ip)
			for _, r := range [][3]string{
				{"raw", "PREROUTING", to + " -j NOTRACK"}, {"raw", "OUTPUT", to + " -j NOTRACK"}, {"raw", "OUTPUT", from + " -j NOTRACK"},
				{"filter", "INPUT", to + " -j ACCEPT"}, {"filter", "OUTPUT", from + " -j ACCEPT"},
			} {
				fmt.Fprintf(&on, "%s -w -t %s -I %s %s\n", tool, r[0], r[1], r[2])
				fmt.Fprintf(&off, "%s -w -t %s -D %s %s\n", tool, r[0], r[1], r[2])
			}
		}
	}
	asks := crossing([]*testbed.Host{s.C1, s.Node}, []testbed.Frontend{at}, "tcp", "udp")
	other := crossing([]*testbed.Host{s.RC, s.Node2}, []testbed.Frontend{at}, "tcp", "udp")
	if err := s.Shell(ctx, s.Node, on.String(), ""); err != nil {
		return err
	}
	for _, four := range []bool{true, false} {
		stop, err := s.ServeAt(s.Node, at.Addr(four).String(), "local cache")
		if err != nil {
			return err
		}
		s.Undo(func(context.Context) error { stop(); return nil })
	}
	s.Ask(ctx, "with the cache", append(asks, other...)...)
	if err := s.Shell(ctx, s.Node, off.String()+"ip link del nodelocaldns", ""); err != nil {
		return err
	}
	s.Ask(ctx, "without it again", asks...)
	return nil
}

// neighbours asks the LAN for virtual IPs, of which some are in its network.
func neighbours(ctx context.Context, s *Scene) error {
	v := testbed.Service{Name: "in-the-lan", Number: 1, Type: "LoadBalancer", External: true}
	if err := s.Apply(ctx, v, testbed.Backends(s.P1)...); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	asks := crossing([]*testbed.Host{s.Ext}, vips(v), "arp")
	s.each(asks, func(a Ask) string {
		// The LAN's client has routes to them by way of the node.
		out, err := a.From.Shell(ctx, fmt.Sprintf("ip route add %[1]s dev eth0; ping -n -c1 -W1 %[1]s >/dev/null || true; ip neigh show %[1]s; ip neigh flush to %[1]s; ip route del %[1]s", a.To.Addr()))
		switch {
		case err != nil:
			return err.Error()
		case strings.Contains(out, "lladdr"):
			return "the node answers"
		}
		return noAnswer
	})
	return nil
}
