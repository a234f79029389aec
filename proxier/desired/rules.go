package desired

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Rules returns all chains of a family, which is state.IPv4 or state.IPv6, in
// the form that iptables-restore reads. They are the same whatever Services
// there are; what changes stands in the sets that they look into. Below they are written
// as they are for IPv4, so that a rule of a node is found by its text.
//
// A new flow meets them in this order. mangle shuts the back doors to images
// and drops what a policy forbids. nat marks what must be masqueraded and
// turns the frontend into its image (or, in direct mode, leaves a ClusterIP as
// it is). IPVS, behind the INPUT or OUTPUT hook, picks a real server. filter
// lets that pass on hosts that drop by default, refuses frontends without
// endpoints, and guards the ports of our addresses that no Service has.
func (c Config) Rules(family netip.Addr) string {
	mark := uint32(1) << c.MasqueradeBit
	r := &rules{config: c, images: c.images(family), relayed: c.Relay(family),
		itself: "-j NETMAP --to " + netip.PrefixFrom(family, 0).String(),
		unmark: fmt.Sprintf("0x0/0x%x", mark), mark: fmt.Sprintf("0x%x/0x%x", mark, mark),
		icmp: "icmp", loopback: "127.0.0.0/8", unreachable: "icmp-port-unreachable"}
	if family.Is6() {
		r.icmp, r.loopback, r.unreachable = "ipv6-icmp", "::1/128", "icmp6-port-unreachable"
	}
	r.matchPods(c.PodCIDRs[index(family)])
	r.mangle()
	r.own()
	r.nat()
	r.filter()
	if family.Is6() {
		return ofIPv6.Replace(r.text.String())
	}
	return r.text.String()
}

type rules struct {
	config         Config
	images         Images
	relayed        netip.AddrPort // see Config.Relay
	pods, others   string         // match traffic from pods, and all other; empty: unknown
	allPods        bool           // all addresses are pods': no rule is for others, iptables-nft refuses "! -s 0.0.0.0/0"
	mark, unmark   string         // what asks for masquerade, and its absence
	icmp, loopback string
	unreachable    string
	// itself translates a destination to itself. ACCEPT would end one table alone, and
	// leave the packet to the DNAT of others in theirs. What table filter refuses keeps
	// its destination, since a REJECT answers from there, and on a bridge past conntrack,
	// which would translate the answer.
	itself string
	text   strings.Builder
}

// matchPods finds out how traffic from pods is told from other traffic.
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

// add adds a line; empty parts of it are left out.
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
	r.add("-A KIPVS-PRE -m conntrack --ctstatus CONFIRMED -j RETURN") // one test for each packet of each established flow
	r.addForImages("-A KIPVS-PRE -d", "-j DROP")                      // images are not for dialling
	// Nor does anything come from one but what the node says of such a packet.
	// Conntrack would take a packet to the image for an answer, and so for
	// established: a forged datagram opened a way past all policies.
	r.addForImages("-A KIPVS-PRE -s", "-m conntrack --ctstate NEW -j DROP")
	// An entry of before these rules is no way either: what has come to an image,
	// just ahead of IPVS, is from a client whose packet our NAT has sent there.
	r.add("-A KIPVS-IMAGE -m conntrack --ctstate DNAT --ctdir ORIGINAL -j RETURN")
	r.addForImages("-A KIPVS-IMAGE -d", "-j DROP")
	r.add("-A KIPVS-PRE -m set --match-set KIPVS-ALL dst,dst -g KIPVS-GATE")
	r.add("-A KIPVS-PRE -m addrtype --dst-type LOCAL -j KIPVS-NODEPORT-GATE")

	// Conntrack cannot NAT a packet that it cannot place: it would go out
	// unchanged. In direct mode IPVS may still know a ClusterIP's connection.
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

// forbid adds what policies and source ranges keep away. Table mangle drops it.
// Where a chain of others in front of ours accepts the packet there, as Calico's
// cali-PREROUTING does with a preDNAT policy, table nat translates it to itself: it
// comes to no endpoint either.
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

// own is a table of nftables that is asked before all tables nat: its name and what it
// may hold are netutil's (OwnTable). A ClusterIP is local here, so that each rule of
// others about addresses of the node, such as that of a host port, would take those of
// its ports that it is about. Node ports and external IPs are not in it: who has them is
// decided in table nat, as with kube-proxy. Nor is a port that is not published: while
// kube-proxy is taken over, that is still its.
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

// cluster adds the chain for ClusterIPs. It is in table nat, too: a kernel without
// nftables has no other.
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
		// To the node's own packets IPVS comes before table filter, and answers by
		// an ICMP error, which over IPv6 a connect does not hear of at once.
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

	// At random, as below: many pods that ask themselves share the node's address.
	r.add("-A KIPVS-POST -m set --match-set KIPVS-HAIRPIN dst,dst,src -j MASQUERADE --random-fully")
	r.add("-A KIPVS-POST -m mark ! --mark", r.mark, "-j RETURN")
	r.add("-A KIPVS-POST -j MARK --set-xmark", r.unmark)
	r.add("-A KIPVS-POST -j MASQUERADE --random-fully")
	r.add("COMMIT")
}

func (r *rules) nodePorts() {
	cluster, local := r.images.nodePort()
	toCluster := "-j DNAT --to-destination " + cluster.String()
	notFromOthers := "" // where route_localnet lets others' packets to loopback addresses in
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

// relay sends what comes from a loopback address to the relay. IPVS refuses such
// a source (crosses_local_route_boundary in ip_vs_xmit.c), and the kernel has no
// place to rewrite one before IPVS sees it. The relay dials the same address and port
// from the node's own address, and so meets the rules that follow. What it does not
// serve the node refuses: to IPVS it would vanish.
func (r *rules) relay(toRelay string) {
	r.add("-A KIPVS-NODEPORT -s", r.loopback, "-p tcp -m set --match-set KIPVS-NODEPORT-LOCAL dst,dst", toRelay)
	r.add("-A KIPVS-NODEPORT -s", r.loopback, "-p udp -m set --match-set KIPVS-NODEPORT-LOCAL dst,dst", toRelay)
	r.add("-A KIPVS-NODEPORT -s", r.loopback, "-p tcp -m set --match-set KIPVS-NODEPORT dst,dst", toRelay)
	r.add("-A KIPVS-NODEPORT -s", r.loopback, "-p udp -m set --match-set KIPVS-NODEPORT dst,dst", toRelay)
	r.add("-A KIPVS-NODEPORT -s", r.loopback, "-j RETURN")
}

// refuse refuses what has no endpoint: table nat has left it as it was, and has
// counted it for its Service. External addresses are not the node's, and come by
// FORWARD. What was translated to a node port has dialled something else.
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

	// What arrives here is for a port of our addresses that no Service has: a
	// daemon of the host must not answer it. Pings and errors pass.
	r.add("-A KIPVS-GUARD -m conntrack --ctstate RELATED,ESTABLISHED,UNTRACKED -j RETURN")
	r.add("-A KIPVS-GUARD -p", r.icmp, "-j ACCEPT")
	r.add("-A KIPVS-GUARD -j KIPVS-REFUSE")
	// Resets are not rate limited, as ICMP errors are: clients learn at once.
	r.add("-A KIPVS-REFUSE -p tcp -j REJECT --reject-with tcp-reset")
	r.add("-A KIPVS-REFUSE -j REJECT --reject-with", r.unreachable)

	if r.config.Mode == Image && !r.config.TCPBeLiberal {
		r.add("-A KIPVS-FWD -m conntrack --ctstate INVALID -j DROP") // NAT would let it pass with the wrong addresses
	}
	r.add("-A KIPVS-FWD -m mark --mark", r.mark, "-j ACCEPT")
	r.add("-A KIPVS-FWD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
	// A second datagram of a flow before its first answer.
	r.add("-A KIPVS-FWD -m conntrack --ctstate DNAT --ctstatus CONFIRMED -j ACCEPT")
	r.add("COMMIT")
}
