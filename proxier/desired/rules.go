package desired

import (
	"fmt"
	"net/netip"
	"strings"

	"kube-ipvs/proxier/state"
)

// Rules returns all chains of a family, which is state.IPv4 or state.IPv6, in
// the form that iptables-restore reads. They are the same whatever Services
// there are; what changes stands in the sets that they look into.
//
// A new flow meets them in this order. mangle shuts the back doors to images
// and drops what a policy forbids. nat marks what must be masqueraded and
// turns the frontend into its image (or, in direct mode, leaves a ClusterIP as
// it is). IPVS, behind the INPUT or OUTPUT hook, picks a real server. filter
// lets that pass on hosts that drop by default, refuses frontends without
// endpoints, and guards the ports of our addresses that no Service has.
func (c Config) Rules(family netip.Addr) string {
	r := &rules{config: c, family: family, prefix: state.Prefix4, icmp: "icmp", loopback: "127.0.0.0/8", unreachable: "icmp-port-unreachable"}
	if family.Is6() {
		r.prefix, r.icmp, r.loopback, r.unreachable = state.Prefix6, "ipv6-icmp", "::1/128", "icmp6-port-unreachable"
	}
	r.images = c.images(family)
	r.mangle()
	r.own()
	r.nat()
	r.filter()
	return r.text.String()
}

type rules struct {
	config                Config
	family                netip.Addr
	images                Images
	prefix, icmp          string
	loopback, unreachable string
	text                  strings.Builder
}

// table starts a table and declares its chains.
func (r *rules) table(name string, chains ...string) {
	fmt.Fprintf(&r.text, "*%s\n", name)
	for _, c := range chains {
		fmt.Fprintf(&r.text, ":%s%s - [0:0]\n", r.prefix, c)
	}
}

func (r *rules) commit() { r.text.WriteString("COMMIT\n") }

// hook adds a jump from a built-in chain.
func (r *rules) hook(from, chain string) {
	fmt.Fprintf(&r.text, "-A %s -j %s%s\n", from, r.prefix, chain)
}

// add adds a rule to one of our chains; empty parts are left out.
func (r *rules) add(chain string, parts ...string) {
	fmt.Fprintf(&r.text, "-A %s%s", r.prefix, chain)
	for _, p := range parts {
		if p != "" {
			r.text.WriteString(" " + p)
		}
	}
	r.text.WriteByte('\n')
}

func (r *rules) jump(chain string) string  { return "-j " + r.prefix + chain }
func (r *rules) enter(chain string) string { return "-g " + r.prefix + chain }

// in matches packets whose dimensions stand in a set.
func (r *rules) in(set state.SetName, dims string) string {
	return "-m set --match-set " + set.Kernel(r.family) + " " + dims
}

// notIn matches those whose dimensions do not.
func (r *rules) notIn(set state.SetName, dims string) string {
	return "-m set ! --match-set " + set.Kernel(r.family) + " " + dims
}

// pods returns the match for traffic from pods; not makes it the opposite.
// ok is false where pods cannot be told from others.
func (r *rules) pods(not string) (match string, ok bool) {
	if in := r.config.PodInterface; in != "" {
		return strings.TrimSpace(not + " -i " + in), true
	}
	p := r.config.PodCIDRs[index(r.family)]
	if !p.IsValid() {
		return "", false
	}
	return strings.TrimSpace(not + " -s " + p.String()), true
}

// allPods reports whether each address is one of a pod (0.0.0.0/0). Then there is no
// rule for traffic from others: iptables-nft refuses "! -s 0.0.0.0/0".
func (r *rules) allPods() bool {
	p := r.config.PodCIDRs[index(r.family)]
	return r.config.PodInterface == "" && p.IsValid() && p.Bits() == 0
}

func (r *rules) mark() string {
	m := uint32(1) << r.config.MasqueradeBit
	return fmt.Sprintf("-j MARK --set-xmark 0x%x/0x%x", m, m)
}

const (
	fromNode    = "-m addrtype --src-type LOCAL"
	notFromNode = "-m addrtype ! --src-type LOCAL"
	toNode      = "-m addrtype --dst-type LOCAL"
	established = "-m conntrack --ctstatus CONFIRMED"
	uncounted   = "! --update-counters" // of a set's entry
	original    = "-m conntrack --ctdir ORIGINAL"
	invalid     = "-m conntrack --ctstate INVALID"
	fresh       = "-m conntrack --ctstate NEW"
	untouched   = "-m conntrack ! --ctstate DNAT"
	translated  = "-m conntrack --ctstate DNAT --ctdir ORIGINAL"
)

// prefixes returns the matches for each prefix of images, by -d or -s.
func (r *rules) prefixes(end string) []string {
	var out []string
	for _, p := range r.images.All() {
		out = append(out, end+" "+p.String())
	}
	return out
}

func (r *rules) mangle() {
	r.table("mangle", "PRE", "IMAGE", "GATE", "NODEPORT-GATE")
	r.hook("PREROUTING", "PRE")
	r.hook("INPUT", "IMAGE")
	r.hook("OUTPUT", "IMAGE")
	r.hook("OUTPUT", "PRE")
	r.add("PRE", established, "-j RETURN") // one test for each packet of each established flow
	for _, images := range r.prefixes("-d") {
		r.add("PRE", images, "-j DROP") // images are not for dialling
	}
	// Nor does anything come from one but what the node says of such a packet.
	// Conntrack would take a packet to the image for an answer, and so for
	// established: a forged datagram opened a way past all policies.
	for _, images := range r.prefixes("-s") {
		r.add("PRE", images, fresh, "-j DROP")
	}
	// An entry of before these rules is no way either: what has come to an image,
	// just ahead of IPVS, is from a client whose packet our NAT has sent there.
	r.add("IMAGE", translated, "-j RETURN")
	for _, images := range r.prefixes("-d") {
		r.add("IMAGE", images, "-j DROP")
	}
	r.add("PRE", r.in(state.SetAll, "dst,dst"), r.enter("GATE"))
	r.add("PRE", toNode, r.jump("NODEPORT-GATE"))

	// Conntrack cannot NAT a packet that it cannot place: it would go out
	// unchanged. In direct mode IPVS may still know a ClusterIP's connection.
	notCluster := ""
	if r.config.Mode == Direct {
		notCluster = r.notIn(state.SetCluster, "dst,dst")
	}
	r.add("GATE", invalid, notCluster, "-j DROP")
	r.forbid("GATE", "-j DROP")

	r.add("NODEPORT-GATE", r.in(state.SetVIPs, "dst"), "-j RETURN")
	r.forbidNodePorts("NODEPORT-GATE", "-j DROP")
	r.commit()
}

// forbid adds what policies and source ranges keep away. Table mangle drops it.
// Where a chain of others in front of ours accepts the packet there, as Calico's
// cali-PREROUTING does with a preDNAT policy, table nat translates it to itself: it
// comes to no endpoint either.
func (r *rules) forbid(chain, then string) {
	notPods, _ := r.pods("!")
	r.add(chain, r.in(state.SetSourceFiltered, "dst,dst"), r.notIn(state.SetSourceAllowed, "dst,dst,src"), then)
	r.add(chain, r.in(state.SetDrop, "dst,dst"), then)
	if !r.allPods() {
		r.add(chain, notPods, r.in(state.SetNoLocal, "dst,dst"), notFromNode, then)
	}
}

// forbidNodePorts is forbid for node ports.
func (r *rules) forbidNodePorts(chain, then string) {
	notPods, _ := r.pods("!")
	if !r.allPods() {
		r.add(chain, notPods, r.in(state.SetNodePortNoLocal, "dst,dst"), notFromNode, then)
	}
}

// own is a table of nftables that is asked before all tables nat: its name and what it
// may hold are netutil's (OwnTable). A ClusterIP is local here, so that each rule of
// others about addresses of the node, such as that of a host port, would take those of
// its ports that it is about. Node ports and external IPs are not in it: who has them is
// decided in table nat, as with kube-proxy. Nor is a port that is not published: while
// kube-proxy is taken over, that is still its.
func (r *rules) own() {
	r.table("kube-ipvs", "VIP", "VIP-OUT", "CLUSTER")
	for _, way := range [][2]string{{"PREROUTING", "VIP"}, {"OUTPUT", "VIP-OUT"}} {
		fmt.Fprintf(&r.text, "-A %s %s %s\n", way[0], r.in(state.SetVIPs, "dst"), r.jump(way[1]))
	}
	if r.config.Mode == Direct { // as in table nat
		r.add("VIP-OUT", r.in(state.SetCluster, "dst,dst"), r.in(state.SetReject, "dst,dst"), "-j NETMAP --to "+r.images.sink().String())
	}
	r.add("VIP-OUT", r.enter("VIP"))
	r.add("VIP", r.in(state.SetReject, "dst,dst"), r.itself())
	r.add("VIP", r.in(state.SetDrop, "dst,dst"), r.itself()) // as forbid
	r.add("VIP", r.in(state.SetCluster, "dst,dst"), r.enter("CLUSTER"))
	r.cluster()
	r.commit()
}

// cluster adds the chain for ClusterIPs. It is in table nat, too: a kernel without
// nftables has no other.
func (r *rules) cluster() {
	notPods, known := r.pods("!")
	if r.config.MasqueradeAll {
		r.add("CLUSTER", r.mark())
	} else if known && !r.allPods() {
		r.add("CLUSTER", notPods, r.mark())
	}
	if r.config.Mode == Image {
		r.add("CLUSTER", "-j NETMAP --to "+r.images.Cluster.String())
	} else {
		r.add("CLUSTER", r.itself())
	}
}

// itself translates a destination to itself. ACCEPT would end this table alone, and
// leave the packet to the DNAT of others in theirs. What table filter refuses keeps
// its destination, since a REJECT answers from there, and on a bridge past conntrack,
// which would translate the answer.
func (r *rules) itself() string {
	return "-j NETMAP --to " + netip.PrefixFrom(r.family, 0).String()
}

func (r *rules) nat() {
	toCluster := "-j NETMAP --to " + r.images.Cluster.String()
	toLocal := "-j NETMAP --to " + r.images.Local.String()
	r.table("nat", "NAT", "CLUSTER", "EXT", "EXT-LOCAL", "NODEPORT", "NODEPORT-ALL", "NODEPORT-LOCAL", "POST")
	r.hook("PREROUTING", "NAT")
	r.hook("OUTPUT", "NAT")
	r.hook("POSTROUTING", "POST")
	if r.config.Mode == Direct {
		// To the node's own packets IPVS comes before table filter, and answers by
		// an ICMP error, which over IPv6 a connect does not hear of at once.
		r.add("NAT", fromNode, r.in(state.SetCluster, "dst,dst"), r.in(state.SetReject, "dst,dst"), "-j DNAT --to-destination "+r.images.sink().Addr().String())
	}
	r.add("NAT", r.in(state.SetReject, "dst,dst"), r.itself())
	r.forbid("NAT", r.itself())
	r.add("NAT", r.in(state.SetCluster, "dst,dst"), r.enter("CLUSTER"))
	r.add("NAT", r.in(state.SetExternal, "dst,dst"), r.enter("EXT"))
	r.add("NAT", r.in(state.SetExternalLocal, "dst,dst"), r.enter("EXT-LOCAL"))
	r.add("NAT", toNode, r.jump("NODEPORT"))

	r.cluster()

	r.add("EXT", r.mark())
	r.add("EXT", toCluster)

	// Pods and the node itself reach all endpoints of a Local frontend.
	if pods, ok := r.pods(""); ok {
		r.add("EXT-LOCAL", pods, toCluster)
	}
	r.add("EXT-LOCAL", fromNode, r.mark())
	r.add("EXT-LOCAL", fromNode, toCluster)
	r.add("EXT-LOCAL", toLocal)

	r.nodePorts()

	mark := uint32(1) << r.config.MasqueradeBit
	// At random, as below: many pods that ask themselves share the node's address.
	r.add("POST", r.in(state.SetHairpin, "dst,dst,src"), "-j MASQUERADE --random-fully")
	r.add("POST", fmt.Sprintf("-m mark ! --mark 0x%x/0x%x", mark, mark), "-j RETURN")
	r.add("POST", fmt.Sprintf("-j MARK --set-xmark 0x0/0x%x", mark))
	r.add("POST", "-j MASQUERADE --random-fully")
	r.commit()
}

func (r *rules) nodePorts() {
	cluster, local := r.images.nodePort()
	toCluster := "-j DNAT --to-destination " + cluster.String()
	relay := r.config.Relay(r.family)
	notFromOthers := "" // where route_localnet lets others' packets to loopback addresses in
	if relay.IsValid() {
		notFromOthers = notFromNode
	}
	r.add("NODEPORT", "-d "+r.loopback, notFromOthers, "-j RETURN")
	r.add("NODEPORT", r.in(state.SetVIPs, "dst"), "-j RETURN") // a VIP is no address of the node
	r.add("NODEPORT", r.in(state.SetNodePortReject, "dst,dst"), r.itself())
	r.forbidNodePorts("NODEPORT", r.itself())
	if relay.IsValid() {
		r.relay(relay)
	}
	r.add("NODEPORT", r.in(state.SetNodePortLocal, "dst,dst"), r.enter("NODEPORT-LOCAL"))
	r.add("NODEPORT", r.in(state.SetNodePort, "dst,dst"), r.enter("NODEPORT-ALL"))
	r.add("NODEPORT-ALL", r.mark())
	r.add("NODEPORT-ALL", toCluster)
	if pods, ok := r.pods(""); ok {
		r.add("NODEPORT-LOCAL", pods, toCluster)
	}
	r.add("NODEPORT-LOCAL", fromNode, r.mark())
	r.add("NODEPORT-LOCAL", fromNode, toCluster)
	r.add("NODEPORT-LOCAL", "-j DNAT --to-destination "+local.String())
}

// refuse refuses what has no endpoint: table nat has left it as it was, and has
// counted it for its Service. External addresses are not the node's, and come by
// FORWARD. What was translated to a node port has dialled something else.
func (r *rules) refuse() {
	notLoopback := "! -d " + r.loopback
	if r.config.Relay(r.family).IsValid() {
		notLoopback = ""
	}
	for _, chain := range []string{"IN", "OUT", "FWD"} {
		r.add(chain, fresh, r.in(state.SetReject, "dst,dst"), uncounted, r.jump("REFUSE"))
	}
	for _, chain := range []string{"IN", "OUT"} {
		r.add(chain, fresh, untouched, notLoopback, toNode, r.notIn(state.SetVIPs, "dst"), r.in(state.SetNodePortReject, "dst,dst"), uncounted, r.jump("REFUSE"))
	}
	if r.config.Mode == Direct {
		r.add("OUT", "-d "+r.images.sink().String(), r.jump("REFUSE"))
	}
}

// relay sends what comes from a loopback address to the relay. IPVS refuses such
// a source (crosses_local_route_boundary in ip_vs_xmit.c), and the kernel has no
// place to rewrite one before IPVS sees it. The relay dials the same address and port
// from the node's own address, and so meets the rules that follow. What it does not
// serve the node refuses: to IPVS it would vanish.
func (r *rules) relay(to netip.AddrPort) {
	from := "-s " + r.loopback
	for _, set := range []state.SetName{state.SetNodePortLocal, state.SetNodePort} {
		for _, proto := range []string{"-p tcp", "-p udp"} {
			r.add("NODEPORT", from, proto, r.in(set, "dst,dst"), "-j DNAT --to-destination "+to.String())
		}
	}
	r.add("NODEPORT", from, "-j RETURN")
}

func (r *rules) filter() {
	mark := uint32(1) << r.config.MasqueradeBit
	r.table("filter", "IN", "OUT", "FWD", "GUARD", "REFUSE")
	r.hook("INPUT", "IN")
	r.hook("FORWARD", "FWD")
	r.hook("OUTPUT", "OUT")
	r.refuse()
	for _, images := range r.prefixes("-d") {
		r.add("IN", images, "-j ACCEPT") // IPVS stands behind INPUT: a policy of DROP must not come first
	}
	if r.config.Mode == Direct {
		r.add("IN", r.in(state.SetCluster, "dst,dst"), "-j ACCEPT")
	}
	r.add("IN", r.in(state.SetVIPs, "dst"), original, r.jump("GUARD"))
	r.add("IN", r.in(state.SetHealth, "dst,dst"), "-j ACCEPT") // load balancers ask the daemon itself, as kube-proxy lets them
	r.add("OUT", r.in(state.SetVIPs, "dst"), original, r.jump("GUARD"))

	// What arrives here is for a port of our addresses that no Service has: a
	// daemon of the host must not answer it. Pings and errors pass.
	r.add("GUARD", "-m conntrack --ctstate RELATED,ESTABLISHED,UNTRACKED", "-j RETURN")
	r.add("GUARD", "-p "+r.icmp, "-j ACCEPT")
	r.add("GUARD", r.jump("REFUSE"))
	// Resets are not rate limited, as ICMP errors are: clients learn at once.
	r.add("REFUSE", "-p tcp", "-j REJECT --reject-with tcp-reset")
	r.add("REFUSE", "-j REJECT --reject-with "+r.unreachable)

	if r.config.Mode == Image && !r.config.TCPBeLiberal {
		r.add("FWD", invalid, "-j DROP") // NAT would let it pass with the wrong addresses
	}
	r.add("FWD", fmt.Sprintf("-m mark --mark 0x%x/0x%x", mark, mark), "-j ACCEPT")
	r.add("FWD", "-m conntrack --ctstate RELATED,ESTABLISHED", "-j ACCEPT")
	// A second datagram of a flow before its first answer.
	r.add("FWD", "-m conntrack --ctstate DNAT --ctstatus CONFIRMED", "-j ACCEPT")
	r.commit()
}
