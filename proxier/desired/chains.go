package desired

import (
	"strings"

	"kube-ipvs/proxier/state"
)

// Chain is one of our chains, by the name that it has for IPv4. Rules has their rules.
type Chain string

// The chains of table mangle, of the built-in PREROUTING, INPUT and OUTPUT.
const (
	ChainPre          Chain = "KIPVS-PRE"           // of packets to come: shuts the back doors to mapped addresses
	ChainImage        Chain = "KIPVS-IMAGE"         // of packets ahead of IPVS: drops what NAT has not sent to a mapped address
	ChainGate         Chain = "KIPVS-GATE"          // drops what policies and source ranges forbid
	ChainNodePortGate Chain = "KIPVS-NODEPORT-GATE" // the same for node ports
)

// The chains of our table of nftables; ChainCluster is one of table nat, too.
const (
	ChainVIP     Chain = "KIPVS-VIP"     // of packets to a ClusterIP
	ChainVIPOut  Chain = "KIPVS-VIP-OUT" // the same, of the node's own
	ChainCluster Chain = "KIPVS-CLUSTER" // translates a ClusterIP to its mapped address, or keeps it
)

// The chains of table nat.
const (
	ChainNAT           Chain = "KIPVS-NAT"            // finds out which frontend is dialled
	ChainExt           Chain = "KIPVS-EXT"            // load-balancer and external IPs, policy Cluster
	ChainExtLocal      Chain = "KIPVS-EXT-LOCAL"      // the same, policy Local
	ChainNodePort      Chain = "KIPVS-NODEPORT"       // finds out which node port is dialled
	ChainNodePortAll   Chain = "KIPVS-NODEPORT-ALL"   // node ports, policy Cluster
	ChainNodePortLocal Chain = "KIPVS-NODEPORT-LOCAL" // the same, policy Local
	ChainPost          Chain = "KIPVS-POST"           // masquerades
)

// The chains of table filter.
const (
	ChainIn     Chain = "KIPVS-IN"
	ChainOut    Chain = "KIPVS-OUT"
	ChainFwd    Chain = "KIPVS-FWD"
	ChainGuard  Chain = "KIPVS-GUARD"  // of packets to a VIP for which no Service has a port
	ChainRefuse Chain = "KIPVS-REFUSE" // answers by a reset or an ICMP error
)

// ChainOf returns the chain that a name in the kernel is of, of either family; empty: it
// is none of ours.
func ChainOf(name string) Chain {
	if rest, ok := strings.CutPrefix(name, state.Prefix6); ok {
		return Chain(state.Prefix4 + rest)
	}
	if strings.HasPrefix(name, state.Prefix4) {
		return Chain(name)
	}
	return ""
}

// ofIPv6 gives sets and chains the names that they have for IPv6, wherever a rule names
// them. A link may have a name that begins alike.
var ofIPv6 = strings.NewReplacer(
	":KIPVS-", ":KIPVS6-", "-A KIPVS-", "-A KIPVS6-", "-j KIPVS-", "-j KIPVS6-", "-g KIPVS-", "-g KIPVS6-",
	"--match-set KIPVS-", "--match-set KIPVS6-")
