package takeover

import (
	"fmt"
	"strings"
)

// ipvsLeftovers writes the objects of kube-proxy's IPVS mode for the Service.
func ipvsLeftovers() string {
	var s strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	w("ip link add kube-ipvs0 type dummy")
	for _, four := range []bool{true, false} {
		family, prefix, tool, pods := "inet", "KUBE-", "iptables", []string{bed.P1.IPv4.String(), bed.P2.IPv4.String()}
		if !four {
			family, prefix, tool, pods = "inet6", "KUBE-6-", "ip6tables", []string{"[" + bed.P1.IPv6.String() + "]", "[" + bed.P2.IPv6.String() + "]"}
		}
		for _, set := range []string{"CLUSTER-IP", "LOAD-BALANCER", "EXTERNAL-IP"} {
			w("ipset create %s%s hash:ip,port family %s", prefix, set, family)
		}
		for _, set := range []string{"NODE-PORT-TCP", "NODE-PORT-UDP"} {
			w("ipset create %s%s bitmap:port range 0-65535; ipset add %s%s %d", prefix, set, prefix, set, web.NodePort().V4.Port())
		}
		sets := map[string]string{"ClusterIP": "CLUSTER-IP", "load-balancer IP": "LOAD-BALANCER", "external IP": "EXTERNAL-IP"}
		for _, f := range web.Frontends() {
			at := f.Addr(four)
			if set, ok := sets[f.Name]; ok {
				w("ip addr add %s/%d dev kube-ipvs0; ipset add %s%s %s,tcp:80; ipset add %s%s %s,udp:80", at.Addr(), at.Addr().BitLen(), prefix, set, at.Addr(), prefix, set, at.Addr())
			}
			for _, p := range []string{"-t", "-u"} {
				w("ipvsadm -A %s %s -s rr; ipvsadm -a %s %s -r %s:8080 -m -w 1; ipvsadm -a %s %s -r %s:8080 -m -w 1", p, at, p, at, pods[0], p, at, pods[1])
			}
		}
		w(`%s-restore --noflush <<END
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-LOAD-BALANCER - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-SERVICES -m set --match-set %[2]sLOAD-BALANCER dst,dst -j KUBE-LOAD-BALANCER
-A KUBE-SERVICES -m set --match-set %[2]sCLUSTER-IP dst,dst ! -s %[3]s -j KUBE-MARK-MASQ
-A KUBE-SERVICES -m set --match-set %[2]sEXTERNAL-IP dst,dst -j KUBE-MARK-MASQ
-A KUBE-SERVICES -m set --match-set %[2]sEXTERNAL-IP dst,dst -m addrtype --dst-type LOCAL -j ACCEPT
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT
-A KUBE-SERVICES -m set --match-set %[2]sCLUSTER-IP dst,dst -j ACCEPT
-A KUBE-SERVICES -m set --match-set %[2]sLOAD-BALANCER dst,dst -j ACCEPT
-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ
-A KUBE-NODE-PORT -p tcp -m set --match-set %[2]sNODE-PORT-TCP dst -j KUBE-MARK-MASQ
-A KUBE-NODE-PORT -p udp -m set --match-set %[2]sNODE-PORT-UDP dst -j KUBE-MARK-MASQ
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
COMMIT
*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
END`, tool, prefix, map[bool]string{true: bed.PodCIDR4.String(), false: bed.PodCIDR6.String()}[four])
	}
	return s.String()
}

// natLeftovers writes the objects of the modes that work by NAT: a rule a frontend,
// all to p1, which shows when those of kube-ipvs are in force. rule makes it.
func natLeftovers(begin, end string, rule func(four bool, proto, match, to string) string) string {
	var s strings.Builder
	s.WriteString(begin + "\n")
	for _, four := range []bool{true, false} {
		to := bed.P1.IPv4.String() + ":8080"
		if !four {
			to = "[" + bed.P1.IPv6.String() + "]:8080"
		}
		for _, f := range web.Frontends() {
			for _, proto := range []string{"tcp", "udp"} {
				at := f.Addr(four)
				s.WriteString(rule(four, proto, fmt.Sprintf("%s %d", at.Addr(), at.Port()), to) + "\n")
			}
		}
	}
	return s.String() + end
}

func iptablesLeftovers() string {
	const begin = `for i in iptables ip6tables; do for c in KUBE-SERVICES KUBE-SVC-NPX46M4PTMTKRN6Y KUBE-POSTROUTING; do $i -t nat -N $c; done
$i -t nat -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
$i -t nat -A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
$i -t nat -A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
$i -t nat -A KUBE-POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE; done`
	return natLeftovers(begin, "", func(four bool, proto, match, to string) string {
		tool := map[bool]string{true: "iptables", false: "ip6tables"}[four]
		addr, port, _ := strings.Cut(match, " ")
		m := fmt.Sprintf("%s -t nat -A KUBE-SERVICES -d %s -p %s --dport %s", tool, addr, proto, port)
		return fmt.Sprintf("%s -j MARK --or-mark 0x4000; %s -j DNAT --to-destination %s", m, m, to)
	})
}

func nftablesLeftovers() string {
	const begin = `for f in ip ip6; do nft add table $f kube-proxy
nft add chain $f kube-proxy nat-prerouting '{ type nat hook prerouting priority dstnat; }'
nft add chain $f kube-proxy nat-output '{ type nat hook output priority -100; }'
nft add chain $f kube-proxy nat-postrouting '{ type nat hook postrouting priority srcnat; }'
nft add chain $f kube-proxy services
nft add rule $f kube-proxy nat-prerouting jump services; nft add rule $f kube-proxy nat-output jump services
nft add rule $f kube-proxy nat-postrouting meta mark 0x4000 masquerade; done`
	return natLeftovers(begin, "", func(four bool, proto, match, to string) string {
		family := map[bool]string{true: "ip", false: "ip6"}[four]
		addr, port, _ := strings.Cut(match, " ")
		return fmt.Sprintf("nft add rule %[1]s kube-proxy services %[1]s daddr %[2]s %[3]s dport %[4]s meta mark set 0x4000 dnat to %[5]s", family, addr, proto, port, to)
	})
}
