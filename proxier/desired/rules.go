package desired

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs/proxier/state"
)

// Rules returns all chains of a family in the form that iptables-restore reads. They do not
// depend on Services: the sets that they look into do. The source has their IPv4 text, so
// that grep finds a node's rule here.
//
// A new flow meets them in this order. mangle shuts the back doors to mapped addresses
// and drops packets that a policy forbids. nat marks packets that must be masqueraded,
// and translates the frontend to its mapped address, or in direct mode a ClusterIP to
// itself. IPVS, behind the INPUT or OUTPUT hook, picks a real server. filter lets these
// packets pass on hosts that drop by default, refuses frontends without endpoints, and
// guards the ports of VIPs that no Service has.
func (c Config) Rules(family state.Family) string {
	mark := uint32(1) << c.MasqueradeBit
	r := &rules{config: c, images: c.Images[family], relayed: c.Relay(family),
		itself: "-j NETMAP --to " + netip.PrefixFrom(family.Unspecified(), 0).String(),
		unmark: fmt.Sprintf("0x0/0x%x", mark), mark: fmt.Sprintf("0x%x/0x%x", mark, mark),
		icmp: "icmp", loopback: "127.0.0.0/8", unreachable: "icmp-port-unreachable"}
	if family == state.IPv6 {
		r.icmp, r.loopback, r.unreachable = "ipv6-icmp", "::1/128", "icmp6-port-unreachable"
	}
	r.matchPods(c.PodCIDRs[family])
	r.mangle()
	r.own()
	r.nat()
	r.filter()
	if family == state.IPv6 {
		return ofIPv6.Replace(r.text.String())
	}
	return r.text.String()
}

type rules struct {
	config         Config
	images         Images
	relayed        netip.AddrPort // see Config.Relay
	pods, others   string         // match traffic from pods, and all other traffic; empty: pods are not known
	allPods        bool           // pods may have any address: no rule is for others, iptables-nft refuses "! -s 0.0.0.0/0"
	mark, unmark   string         // set and clear the mark for masquerade
	icmp, loopback string
	unreachable    string
	// itself translates a destination to itself. ACCEPT would end one table only, and
	// leave the packet to the DNAT of other programs in theirs. A packet that table filter
	// refuses keeps its destination: REJECT answers from there, and on a bridge its answer
	// bypasses conntrack, which would translate it back.
	itself string
	text   strings.Builder
}

// matchPods sets pods and others.
func (r *rules) matchPods(cidr netip.Prefix) {
	switch in := r.config.PodInterface; {
	case in != "":
		r.pods = "-i " + in
	case cidr.IsValid():
		r.pods, r.allPods = "-s "+cidr.String(), cidr.Bits() == 0
	default:
		return
	}
	r.others = "! " + r.pods
}

// table starts a table and declares its chains.
func (r *rules) table(name string, chains ...Chain) {
	r.add("*" + name)
	for _, c := range chains {
		r.add(":" + string(c) + " - [0:0]")
	}
}

// add adds a line without its empty parts.
func (r *rules) add(parts ...string) {
	parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" })
	r.text.WriteString(strings.Join(parts, " ") + "\n")
}

// addForImages adds a rule for each prefix of mapped addresses, with the prefix between two parts.
func (r *rules) addForImages(before, after string) {
	for _, p := range r.images.All() {
		r.add(before, p.String(), after)
	}
}

func (r *rules) mangle() {
	r.table("mangle", ChainPre, ChainImage, ChainGate, ChainNodePortGate)
	r.add("-A PREROUTING -j KIPVS-PRE")
	r.add("-A INPUT -j KIPVS-IMAGE")
	r.add("-A OUTPUT -j KIPVS-IMAGE")
	r.add("-A OUTPUT -j KIPVS-PRE")
	r.add("-A KIPVS-PRE -m conntrack --ctstatus CONFIRMED -j RETURN") // each packet of an established flow meets this rule only
	r.addForImages("-A KIPVS-PRE -d", "-j DROP")                      // clients must not dial mapped addresses
	// No packet comes from one, except the node's own errors about such packets. After a
	// forged packet from a mapped address, conntrack would take packets to it for answers
	// of an established flow, which pass all policies.
	r.addForImages("-A KIPVS-PRE -s", "-m conntrack --ctstate NEW -j DROP")
	// A conntrack entry from before these rules must not help either: just before IPVS, a
	// packet to a mapped address must be one that NAT has translated.
	r.add("-A KIPVS-IMAGE -m conntrack --ctstate DNAT --ctdir ORIGINAL -j RETURN")
	r.addForImages("-A KIPVS-IMAGE -d", "-j DROP")
	r.add("-A KIPVS-PRE -m set --match-set KIPVS-ALL dst,dst -g KIPVS-GATE")
	r.add("-A KIPVS-PRE -m addrtype --dst-type LOCAL -j KIPVS-NODEPORT-GATE")

	// NAT does not translate an INVALID packet, which would leave the node unchanged. In
	// direct mode IPVS may still know the connection of a ClusterIP.
	notCluster := ""
	if r.config.Mode == Direct {
		notCluster = "-m set ! --match-set KIPVS-CLUSTER dst,dst"
	}
	r.add("-A KIPVS-GATE -m conntrack --ctstate INVALID", notCluster, "-j DROP")
	r.forbid("-A KIPVS-GATE", "-j DROP")

	r.add("-A KIPVS-NODEPORT-GATE -m set --match-set KIPVS-VIPS dst -j RETURN")
	r.forbidNodePorts("-A KIPVS-NODEPORT-GATE", "-j DROP")
	r.add("COMMIT")
}

// forbid adds rules for packets that policies and source ranges forbid. Table mangle
// drops them. If a chain of another program accepts the packet there before, as Calico's
// cali-PREROUTING does with a preDNAT policy, table nat translates it to itself, so that
// it reaches no endpoint.
func (r *rules) forbid(chain, then string) {
	r.add(chain, "-m set --match-set KIPVS-SRC-FILTER dst,dst -m set ! --match-set KIPVS-SRC-ALLOW dst,dst,src", then)
	r.add(chain, "-m set --match-set KIPVS-DROP dst,dst", then)
	if !r.allPods {
		r.add(chain, r.others, "-m set --match-set KIPVS-NO-LOCAL dst,dst -m addrtype ! --src-type LOCAL", then)
	}
}

// forbidNodePorts is forbid for node ports.
func (r *rules) forbidNodePorts(chain, then string) {
	if !r.allPods {
		r.add(chain, r.others, "-m set --match-set KIPVS-NODEPORT-NO-LOCAL dst,dst -m addrtype ! --src-type LOCAL", then)
	}
}

// own adds the nftables table of kube-ipvs, netutil.OwnTable, which the kernel asks before
// all tables nat. A ClusterIP is an address of the node, so that a rule of another program
// for a port of all addresses of the node, such as a host port, would take the port of
// ClusterIPs. Node ports and external IPs are not in it: table nat decides about them, as
// with kube-proxy. Ports that are not published are not in it either: during a takeover
// kube-proxy still serves them.
func (r *rules) own() {
	r.table("kube-ipvs", ChainVIP, ChainVIPOut, ChainCluster)
	r.add("-A PREROUTING -m set --match-set KIPVS-VIPS dst -j KIPVS-VIP")
	r.add("-A OUTPUT -m set --match-set KIPVS-VIPS dst -j KIPVS-VIP-OUT")
	if r.config.Mode == Direct { // as in table nat
		r.add("-A KIPVS-VIP-OUT -m set --match-set KIPVS-CLUSTER dst,dst -m set --match-set KIPVS-REJECT dst,dst -j NETMAP --to", r.images.sink().String())
	}
	r.add("-A KIPVS-VIP-OUT -g KIPVS-VIP")
	r.add("-A KIPVS-VIP -m set --match-set KIPVS-REJECT dst,dst", r.itself)
	r.add("-A KIPVS-VIP -m set --match-set KIPVS-DROP dst,dst", r.itself) // as forbid
	r.add("-A KIPVS-VIP -m set --match-set KIPVS-CLUSTER dst,dst -g KIPVS-CLUSTER")
	r.cluster()
	r.add("COMMIT")
}

// cluster adds the chain for ClusterIPs. It stands in table nat too, for a kernel without
// nftables.
func (r *rules) cluster() {
	if r.config.MasqueradeAll {
		r.add("-A KIPVS-CLUSTER -j MARK --set-xmark", r.mark)
	} else if r.others != "" && !r.allPods {
		r.add("-A KIPVS-CLUSTER", r.others, "-j MARK --set-xmark", r.mark)
	}
	if r.config.Mode == Image {
		r.add("-A KIPVS-CLUSTER -j NETMAP --to", r.images.Cluster.String())
	} else {
		r.add("-A KIPVS-CLUSTER", r.itself)
	}
}

func (r *rules) nat() {
	toCluster := "-j NETMAP --to " + r.images.Cluster.String()
	r.table("nat", ChainNAT, ChainCluster, ChainExt, ChainExtLocal, ChainNodePort, ChainNodePortAll, ChainNodePortLocal, ChainPost)
	r.add("-A PREROUTING -j KIPVS-NAT")
	r.add("-A OUTPUT -j KIPVS-NAT")
	r.add("-A POSTROUTING -j KIPVS-POST")
	if r.config.Mode == Direct {
		// The node's own packets meet IPVS before table filter. IPVS answers them by an
		// ICMP error, which a connect over IPv6 does not notice at once.
		r.add("-A KIPVS-NAT -m addrtype --src-type LOCAL -m set --match-set KIPVS-CLUSTER dst,dst -m set --match-set KIPVS-REJECT dst,dst",
			"-j DNAT --to-destination", r.images.sink().Addr().String())
	}
	r.add("-A KIPVS-NAT -m set --match-set KIPVS-REJECT dst,dst", r.itself)
	r.forbid("-A KIPVS-NAT", r.itself)
	r.add("-A KIPVS-NAT -m set --match-set KIPVS-CLUSTER dst,dst -g KIPVS-CLUSTER")
	r.add("-A KIPVS-NAT -m set --match-set KIPVS-EXT dst,dst -g KIPVS-EXT")
	r.add("-A KIPVS-NAT -m set --match-set KIPVS-EXT-LOCAL dst,dst -g KIPVS-EXT-LOCAL")
	r.add("-A KIPVS-NAT -m addrtype --dst-type LOCAL -j KIPVS-NODEPORT")

	r.cluster()

	r.add("-A KIPVS-EXT -j MARK --set-xmark", r.mark)
	r.add("-A KIPVS-EXT", toCluster)

	// Pods and the node itself reach all endpoints of a Local frontend.
	if r.pods != "" {
		r.add("-A KIPVS-EXT-LOCAL", r.pods, toCluster)
	}
	r.add("-A KIPVS-EXT-LOCAL -m addrtype --src-type LOCAL -j MARK --set-xmark", r.mark)
	r.add("-A KIPVS-EXT-LOCAL -m addrtype --src-type LOCAL", toCluster)
	r.add("-A KIPVS-EXT-LOCAL -j NETMAP --to", r.images.Local.String())

	r.nodePorts()

	// --random-fully, as below, since many pods that dial themselves share the node's address.
	r.add("-A KIPVS-POST -m set --match-set KIPVS-HAIRPIN dst,dst,src -j MASQUERADE --random-fully")
	r.add("-A KIPVS-POST -m mark ! --mark", r.mark, "-j RETURN")
	r.add("-A KIPVS-POST -j MARK --set-xmark", r.unmark)
	r.add("-A KIPVS-POST -j MASQUERADE --random-fully")
	r.add("COMMIT")
}

func (r *rules) nodePorts() {
	cluster, local := r.images.nodePort()
	toCluster := "-j DNAT --to-destination " + cluster.String()
	notFromOthers := "" // route_localnet may let in packets of other machines to loopback addresses
	if r.relayed.IsValid() {
		notFromOthers = "-m addrtype ! --src-type LOCAL"
	}
	r.add("-A KIPVS-NODEPORT -d", r.loopback, notFromOthers, "-j RETURN")
	r.add("-A KIPVS-NODEPORT -m set --match-set KIPVS-VIPS dst -j RETURN") // a VIP is no address of the node
	r.add("-A KIPVS-NODEPORT -m set --match-set KIPVS-NODEPORT-REJECT dst,dst", r.itself)
	r.forbidNodePorts("-A KIPVS-NODEPORT", r.itself)
	if r.relayed.IsValid() {
		r.relay("-j DNAT --to-destination " + r.relayed.String())
	}
	r.add("-A KIPVS-NODEPORT -m set --match-set KIPVS-NODEPORT-LOCAL dst,dst -g KIPVS-NODEPORT-LOCAL")
	r.add("-A KIPVS-NODEPORT -m set --match-set KIPVS-NODEPORT dst,dst -g KIPVS-NODEPORT-ALL")
	r.add("-A KIPVS-NODEPORT-ALL -j MARK --set-xmark", r.mark)
	r.add("-A KIPVS-NODEPORT-ALL", toCluster)
	if r.pods != "" {
		r.add("-A KIPVS-NODEPORT-LOCAL", r.pods, toCluster)
	}
	r.add("-A KIPVS-NODEPORT-LOCAL -m addrtype --src-type LOCAL -j MARK --set-xmark", r.mark)
	r.add("-A KIPVS-NODEPORT-LOCAL -m addrtype --src-type LOCAL", toCluster)
	r.add("-A KIPVS-NODEPORT-LOCAL -j DNAT --to-destination", local.String())
}

// relay sends packets from loopback addresses to the relay. IPVS refuses such a source
// (crosses_local_route_boundary in ip_vs_xmit.c), and the kernel cannot rewrite the source
// before IPVS. The relay dials the same address and port from the node's own address, and
// so meets the rules below. The node refuses packets that the relay does not serve: IPVS
// would drop them in silence.
func (r *rules) relay(toRelay string) {
	r.add("-A KIPVS-NODEPORT -s", r.loopback, "-p tcp -m set --match-set KIPVS-NODEPORT-LOCAL dst,dst", toRelay)
	r.add("-A KIPVS-NODEPORT -s", r.loopback, "-p udp -m set --match-set KIPVS-NODEPORT-LOCAL dst,dst", toRelay)
	r.add("-A KIPVS-NODEPORT -s", r.loopback, "-p tcp -m set --match-set KIPVS-NODEPORT dst,dst", toRelay)
	r.add("-A KIPVS-NODEPORT -s", r.loopback, "-p udp -m set --match-set KIPVS-NODEPORT dst,dst", toRelay)
	r.add("-A KIPVS-NODEPORT -s", r.loopback, "-j RETURN")
}

// refuse refuses packets to frontends without endpoints: table nat has translated them to
// themselves, and has counted them in the set. Packets to external addresses come by
// FORWARD. A packet that was translated to a node port has dialled another address.
func (r *rules) refuse() {
	notLoopback := "! -d " + r.loopback
	if r.relayed.IsValid() {
		notLoopback = ""
	}
	for _, chain := range []Chain{ChainIn, ChainOut, ChainFwd} {
		r.add("-A", string(chain), "-m conntrack --ctstate NEW -m set --match-set KIPVS-REJECT dst,dst ! --update-counters -j KIPVS-REFUSE")
	}
	for _, chain := range []Chain{ChainIn, ChainOut} {
		r.add("-A", string(chain), "-m conntrack --ctstate NEW -m conntrack ! --ctstate DNAT", notLoopback,
			"-m addrtype --dst-type LOCAL -m set ! --match-set KIPVS-VIPS dst -m set --match-set KIPVS-NODEPORT-REJECT dst,dst ! --update-counters -j KIPVS-REFUSE")
	}
	if r.config.Mode == Direct {
		r.add("-A KIPVS-OUT -d", r.images.sink().String(), "-j KIPVS-REFUSE")
	}
}

func (r *rules) filter() {
	r.table("filter", ChainIn, ChainOut, ChainFwd, ChainGuard, ChainRefuse)
	r.add("-A INPUT -j KIPVS-IN")
	r.add("-A FORWARD -j KIPVS-FWD")
	r.add("-A OUTPUT -j KIPVS-OUT")
	r.refuse()
	r.addForImages("-A KIPVS-IN -d", "-j ACCEPT") // IPVS stands behind INPUT: a policy of DROP must not come first
	if r.config.Mode == Direct {
		r.add("-A KIPVS-IN -m set --match-set KIPVS-CLUSTER dst,dst -j ACCEPT")
	}
	r.add("-A KIPVS-IN -m set --match-set KIPVS-VIPS dst -m conntrack --ctdir ORIGINAL -j KIPVS-GUARD")
	r.add("-A KIPVS-IN -m set --match-set KIPVS-HEALTH dst,dst -j ACCEPT") // load balancers ask the daemon itself, as kube-proxy lets them
	r.add("-A KIPVS-OUT -m set --match-set KIPVS-VIPS dst -m conntrack --ctdir ORIGINAL -j KIPVS-GUARD")

	// A packet that arrives here is for a port of a VIP that no Service has: no daemon of
	// the host must answer it. Pings and ICMP errors pass.
	r.add("-A KIPVS-GUARD -m conntrack --ctstate RELATED,ESTABLISHED,UNTRACKED -j RETURN")
	r.add("-A KIPVS-GUARD -p", r.icmp, "-j ACCEPT")
	r.add("-A KIPVS-GUARD -j KIPVS-REFUSE")
	// The kernel limits the rate of ICMP errors, but not of resets.
	r.add("-A KIPVS-REFUSE -p tcp -j REJECT --reject-with tcp-reset")
	r.add("-A KIPVS-REFUSE -j REJECT --reject-with", r.unreachable)

	if r.config.Mode == Image && !r.config.TCPBeLiberal {
		r.add("-A KIPVS-FWD -m conntrack --ctstate INVALID -j DROP") // NAT would let it pass with the wrong addresses
	}
	r.add("-A KIPVS-FWD -m mark --mark", r.mark, "-j ACCEPT")
	r.add("-A KIPVS-FWD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
	// The second datagram of a flow before its first answer.
	r.add("-A KIPVS-FWD -m conntrack --ctstate DNAT --ctstatus CONFIRMED -j ACCEPT")
	r.add("COMMIT")
}
