package desired

import (
	"strings"

	"kube-ipvs/proxier/state"
)

// Chain is the IPv4 name of a chain of kube-ipvs. Rules writes the rules.
type Chain string

// The chains of table mangle, of the built-in PREROUTING, INPUT and OUTPUT.
const (
	ChainPre          Chain = "KIPVS-PRE"           // shuts the back doors to mapped addresses
	ChainImage        Chain = "KIPVS-IMAGE"         // just before IPVS: drops packets to mapped addresses that NAT has not translated
	ChainGate         Chain = "KIPVS-GATE"          // drops packets that policies or source ranges forbid
	ChainNodePortGate Chain = "KIPVS-NODEPORT-GATE" // the same for node ports
)

// The chains of our table of nftables; ChainCluster is one of table nat, too.
const (
	ChainVIP     Chain = "KIPVS-VIP"     // packets to a ClusterIP
	ChainVIPOut  Chain = "KIPVS-VIP-OUT" // the node's own packets to a ClusterIP
	ChainCluster Chain = "KIPVS-CLUSTER" // translates a ClusterIP to its mapped address, or keeps it
)

// The chains of table nat.
const (
	ChainNAT           Chain = "KIPVS-NAT"            // finds the dialled frontend
	ChainExt           Chain = "KIPVS-EXT"            // load-balancer and external IPs, policy Cluster
	ChainExtLocal      Chain = "KIPVS-EXT-LOCAL"      // the same, policy Local
	ChainNodePort      Chain = "KIPVS-NODEPORT"       // finds the dialled node port
	ChainNodePortAll   Chain = "KIPVS-NODEPORT-ALL"   // node ports, policy Cluster
	ChainNodePortLocal Chain = "KIPVS-NODEPORT-LOCAL" // the same, policy Local
	ChainPost          Chain = "KIPVS-POST"           // masquerades
)

// The chains of table filter.
const (
	ChainIn     Chain = "KIPVS-IN"
	ChainOut    Chain = "KIPVS-OUT"
	ChainFwd    Chain = "KIPVS-FWD"
	ChainGuard  Chain = "KIPVS-GUARD"  // refuses packets to ports of a VIP that no Service has
	ChainRefuse Chain = "KIPVS-REFUSE" // answers by a reset or an ICMP error
)

// ChainOf returns the chain with this name in the kernel, for either family; "": it is
// no chain of kube-ipvs.
func ChainOf(name string) Chain {
	if rest, ok := strings.CutPrefix(name, state.Prefix6); ok {
		return Chain(state.Prefix4 + rest)
	}
	if strings.HasPrefix(name, state.Prefix4) {
		return Chain(name)
	}
	return ""
}

// ofIPv6 replaces the names of sets and chains by their IPv6 names, only where a rule
// names one: a link may have a name that begins alike.
var ofIPv6 = strings.NewReplacer(
	":KIPVS-", ":KIPVS6-", "-A KIPVS-", "-A KIPVS6-", "-j KIPVS-", "-j KIPVS6-", "-g KIPVS-", "-g KIPVS6-",
	"--match-set KIPVS-", "--match-set KIPVS6-")
