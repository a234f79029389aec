package kernel

import (
	"fmt"
	"regexp"
	"strings"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
)

// The names below are kube-proxy's, in all modes and releases since 1.11. The kubelet,
// hostport plugins and kube-router use the prefix KUBE- too, so that only whole names count.

// kubeProxyChains are the iptables chains of kube-proxy, with their mode; "": both modes.
var kubeProxyChains = map[string]string{
	"KUBE-SERVICES": "", "KUBE-FORWARD": "", "KUBE-PROXY-FIREWALL": "",

	"KUBE-NODEPORTS": modeIPTables, "KUBE-EXTERNAL-SERVICES": modeIPTables, "KUBE-PROXY-CANARY": modeIPTables,

	"KUBE-NODE-PORT": modeIPVS, "KUBE-LOAD-BALANCER": modeIPVS, "KUBE-SOURCE-RANGES-FIREWALL": modeIPVS,
	"KUBE-IPVS-FILTER": modeIPVS, "KUBE-IPVS-OUT-FILTER": modeIPVS,
}

// sharedChains were also made by the kubelet before Kubernetes 1.28, with the same rules.
// They are no sign of kube-proxy, but are removed with its chains, since rules of kube-ipvs
// do the same. The kubelet's own chains, KUBE-KUBELET-CANARY, KUBE-IPTABLES-HINT,
// KUBE-FIREWALL and KUBE-MARK-DROP, are never touched.
var sharedChains = map[string]bool{"KUBE-POSTROUTING": true, "KUBE-MARK-MASQ": true}

// serviceChain matches a chain of one Service or endpoint, whose name ends in a hash in
// base 32.
var serviceChain = regexp.MustCompile(`^KUBE-(SVC|SVL|SEP|FW|XLB|EXT)-[A-Z2-7]{16}$`)

// ofKubeProxy reports whether only kube-proxy makes a chain, and in which mode.
func ofKubeProxy(chain string) (mode string, ok bool) {
	if serviceChain.MatchString(chain) {
		return modeIPTables, true
	}
	mode, ok = kubeProxyChains[chain]
	return mode, ok
}

// removable reports whether a chain is removed with kube-proxy.
func removable(c netutil.Chain) bool {
	_, ok := ofKubeProxy(c.Name)
	return ok || c.Table == "nat" && sharedChains[c.Name]
}

// The modes.
const (
	modeIPVS     = "ipvs"
	modeIPTables = "iptables"
	modeNFTables = "nftables"
)

// kubeProxyTable is kube-proxy's nftables table of both families.
const kubeProxyTable = "kube-proxy"

// kubeProxySets are the names of kube-proxy's ipsets without the prefix.
var kubeProxySets = []string{
	"LOOP-BACK", "CLUSTER-IP", "EXTERNAL-IP", "EXTERNAL-IP-LOCAL", "LOAD-BALANCER", "LOAD-BALANCER-LOCAL", "LOAD-BALANCER-FW",
	"LOAD-BALANCER-SOURCE-CIDR", "LOAD-BALANCER-SOURCE-IP", "NODE-PORT-TCP", "NODE-PORT-UDP", "NODE-PORT-LOCAL-TCP",
	"NODE-PORT-LOCAL-UDP", "NODE-PORT-SCTP-HASH", "NODE-PORT-LOCAL-SCTP-HASH", "HEALTH-CHECK-NODE-PORT", "IPVS-IPS",
	"NODE-PORT-SCTP", "NODE-PORT-LOCAL-SCTP", // until 1.12
}

// maxSetName is IPSET_MAXNAMELEN of linux/netfilter/ipset/ip_set.h less the NUL.
const maxSetName = 31

// kubeProxySet returns the set's name in the kernel for a family. kube-proxy truncates
// long names.
func kubeProxySet(name string, family netutil.Family) string {
	full := [...]string{"KUBE-", "KUBE-6-"}[family] + name
	return full[:min(len(full), maxSetName)]
}

// setsOfKubeProxy returns the sets of kube-proxy that exist.
func setsOfKubeProxy(c *ipset.Client) ([]ipset.Set, error) {
	names := map[string]bool{}
	for _, n := range kubeProxySets {
		names[kubeProxySet(n, netutil.IPv4)], names[kubeProxySet(n, netutil.IPv6)] = true, true
	}
	all, err := c.Sets()
	if err != nil {
		return nil, err
	}
	var out []ipset.Set
	for _, s := range all {
		if names[s.Name] {
			out = append(out, s)
		}
	}
	return out, nil
}

// Found describes the objects of kube-proxy on a node.
type Found struct {
	Modes []string // modes that have left objects: ipvs, iptables, nftables; empty with Signs: unknown
	Signs []string // the objects, in words
}

// Any reports whether there are objects of kube-proxy.
func (f Found) Any() bool { return len(f.Signs) > 0 }

// String returns one line, such as "ipvs mode: 17 sets (KUBE-CLUSTER-IP, ...), device
// kube-ipvs0"; "" if there are no objects.
func (f Found) String() string {
	if !f.Any() {
		return ""
	}
	mode := "unknown mode"
	if len(f.Modes) > 0 {
		mode = strings.Join(f.Modes, " and ") + " mode"
	}
	return mode + ": " + strings.Join(f.Signs, ", ")
}

// add adds a sign of a mode, which may be empty.
func (f *Found) add(mode, format string, args ...any) {
	f.Signs = append(f.Signs, fmt.Sprintf(format, args...))
	if mode == "" {
		return
	}
	for _, m := range f.Modes {
		if m == mode {
			return
		}
	}
	f.Modes = append(f.Modes, mode)
}

// some joins the first three names.
func some(names []string) string {
	const few = 3
	if len(names) > few {
		return strings.Join(names[:few], ", ") + ", ..."
	}
	return strings.Join(names, ", ")
}
