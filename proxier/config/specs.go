package config

import (
	"fmt"
	"net"
	"reflect"
	"strconv"
	"strings"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
)

// specs are the flags, in the order of the help, with the default, check and text of each setting.
var specs = []spec{
	{path: "manifests", name: "manifests", whole: true, usage: "file or folder with Services and EndpointSlices as YAML or JSON; may be repeated (default: the API server)"},
	{path: "clientConnection.kubeconfig", name: "kubeconfig", usage: "kubeconfig file to reach the API server (default: the configuration of a pod)"},
	{path: "apiServers", name: "api-servers", aliases: []string{"master"}, usage: "API servers, URL or host:port, instead of the one that the kubeconfig names"},
	{path: "clientConnection.contentType", name: "kube-api-content-type", def: "application/vnd.kubernetes.protobuf", usage: "content type of requests to the API server"},
	{path: "clientConnection.qps", name: "kube-api-qps", def: "5", usage: "requests to the API server per second; negative: no limit"},
	{path: "clientConnection.burst", name: "kube-api-burst", def: "10", check: noLess(0), usage: "requests to the API server at once, beyond --kube-api-qps"},
	{path: "configSyncPeriod", name: "config-sync-period", def: "15m", check: positive, usage: "accepted without effect: watches are complete, so that nothing has to be listed again"},
	{path: "serviceProxyName", name: "service-proxy-name", check: label, usage: "serve the Services whose label service.kubernetes.io/service-proxy-name has this value (default: those without the label)"},

	{path: "hostnameOverride", name: "node-name", aliases: []string{"hostname-override"}, usage: "name of this node, as in nodeName of endpoints (default: the host's name); converted to lower case"},
	{path: "zone", name: "zone", check: label, usage: "zone of this node for topology hints (default: label topology.kubernetes.io/zone of the Node)"},
	{path: "nodeIPs", name: "node-ip", usage: "this node's own address, one for each family: the source of its own packets to Services (default: the source that the kernel chooses for packets to strangers)"},
	{path: "bindAddress", name: "bind-address", def: "0.0.0.0", usage: "the node's primary address, as if given by --node-ip unless that is given too; an IPv6 address also moves the defaults of healthz and metrics to IPv6. Nothing is bound to it"},

	{path: "mode", name: "proxy-mode", def: "ipvs", check: modeProblem, usage: "ipvs or nothing: there is no other mode. Flags of kube-proxy's other modes are accepted and ignored with a warning"},
	{path: "clusterIPServers", name: "cluster-ip-servers", def: "image", choices: []string{"direct", "image"}, usage: "where the virtual server of a ClusterIP stands: image (at its mapped address: connections survive idling and removal) or direct (at the ClusterIP)"},
	{path: "ipvs.scheduler", name: "scheduler", def: "rr", check: schedulerProblem, choices: state.Schedulers, live: true, aliases: []string{"ipvs-scheduler"}, usage: "IPVS scheduler of Services that do not name one by the annotation kube-ipvs/scheduler: rr, wrr, lc, wlc, sh, mh, ... as the kernel has them"},
	{path: "detectLocalMode", name: "detect-local-mode", def: "ClusterCIDR", choices: []string{"ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"}, usage: "how kube-ipvs knows the traffic of pods, which it does not masquerade to ClusterIPs: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix"},
	{path: "clusterCIDR", name: "cluster-cidr", live: true, joins: true, usage: "with ClusterCIDR: the pods' source addresses, one CIDR for each family; all other traffic to ClusterIPs is masqueraded"},
	{path: "detectLocal.bridgeInterface", name: "pod-bridge-interface", usage: "with BridgeInterface: the bridge that pods' traffic comes from"},
	{path: "detectLocal.interfaceNamePrefix", name: "pod-interface-name-prefix", usage: "with InterfaceNamePrefix: the prefix of the names of the interfaces that pods' traffic comes from"},
	{path: "nodePortAddresses", name: "nodeport-addresses", live: true, usage: "node addresses that serve node ports: any mixture of CIDRs, primary (those of the Node object), localhost (127.0.0.0/8 and ::1, also given as a CIDR) and all (but loopback); a family without any has all (default: all)"},
	{path: "iptables.localhostNodePorts", name: "iptables-localhost-nodeports", live: true, bare: "true", usage: "true: serve node ports on 127.0.0.1, if --nodeport-addresses contains it; false: never (default: if --nodeport-addresses names it)"},
	{path: "iptables.masqueradeAll", name: "masquerade-all", live: true, usage: "masquerade all traffic to ClusterIPs"},
	{path: "iptables.masqueradeBit", name: "iptables-masquerade-bit", def: "14", check: between(0, 31), usage: "bit of the packet mark, 0 to 31, that asks for masquerade"},
	{path: "maxServiceFrontends", name: "max-service-frontends", def: "10000", check: noLess(0), live: true, usage: "how many frontends one Service may have: each address, port and protocol counts one, and with loadBalancerSourceRanges one more for each range; external IPs are left out first, ClusterIPs last (0: any number)"},
	{path: "vipBinding", name: "vip-binding", def: "address", choices: []string{"address", "route"}, usage: "how ClusterIPs become the node's own: address (on kube-ipvs0, where ip addr shows them, unless a start had to add more than 10000 of a family) or route (local routes alone, whose cost does not grow with their number)"},
	{path: "iptablesBackend", name: "iptables-backend", def: "auto", choices: []string{"nft", "legacy", "auto"}, usage: "variant of iptables that this host uses: nft, legacy or auto"},
	{path: "takeover", name: "takeover", usage: "adopt the virtual servers that kube-proxy's IPVS mode has left on this node, so that their connections go on"},
	{path: "ipvs.excludeCIDRs", name: "ipvs-exclude-cidrs", usage: "--takeover does not adopt virtual servers in these CIDRs. kube-ipvs never deletes those of other programs"},

	{path: "auditPeriod", name: "audit-period", def: "5m", check: atLeast(time.Second), live: true, usage: "longest time between full comparisons with the kernel, which repair what others changed"},
	{path: "ipvs.syncPeriod", name: "ipvs-sync-period", def: "30s", check: positive, usage: "/healthz fails if an update takes more than twice this time. Unlike in kube-proxy it repeats no work: see --audit-period"},
	{path: "ipvs.minSyncPeriod", name: "ipvs-min-sync-period", check: atLeast(0), live: true, usage: "least time between two rounds: changes that come faster are programmed together; at most --ipvs-sync-period"},
	{path: "drainTimeout", name: "drain-timeout", def: "15m", check: atLeast(0), live: true, usage: "how long connections of a removed endpoint may go on, with direct"},
	{path: "ipvs.tcpTimeout", name: "ipvs-tcp-timeout", live: true, usage: "how long IPVS keeps an idle TCP connection (default 0: 24h as conntrack, with direct; as the kernel has it, with image)"},
	{path: "ipvs.tcpFinTimeout", name: "ipvs-tcpfin-timeout", live: true, usage: "how long IPVS keeps a TCP connection after a FIN (default 0: as the kernel has it)"},
	{path: "ipvs.udpTimeout", name: "ipvs-udp-timeout", live: true, usage: "how long IPVS keeps UDP flows (default 0: as the kernel has it)"},
	{path: "ipvs.strictARP", name: "ipvs-strict-arp", usage: "set arp_ignore=1 and arp_announce=2. Not needed for kube-ipvs, which puts no external address on the node"},
	{path: "conntrack.maxPerCore", name: "conntrack-max-per-core", def: "32768", check: noLess(0), usage: "tracked connections per core (0: leave nf_conntrack_max, and ignore --conntrack-min)"},
	{path: "conntrack.min", name: "conntrack-min", def: "131072", check: noLess(0), usage: "least number of tracked connections"},
	{path: "conntrack.tcpEstablishedTimeout", name: "conntrack-tcp-timeout-established", def: "24h", live: true, usage: "idle timeout of established TCP connections (0: leave it)"},
	{path: "conntrack.tcpCloseWaitTimeout", name: "conntrack-tcp-timeout-close-wait", def: "1h", live: true, usage: "timeout of TCP connections in CLOSE_WAIT (0: leave it)"},
	{path: "conntrack.tcpBeLiberal", name: "conntrack-tcp-be-liberal", usage: "have conntrack accept TCP packets outside of the window, and forward packets that conntrack finds invalid"},
	{path: "conntrack.udpTimeout", name: "conntrack-udp-timeout", usage: "timeout of UDP flows without a reply (0: leave it)"},
	{path: "conntrack.udpStreamTimeout", name: "conntrack-udp-timeout-stream", usage: "timeout of UDP flows with replies (0: leave it)"},
	{path: "oomScoreAdj", name: "oom-score-adj", def: "-999", check: between(-1000, 1000), usage: "oom_score_adj of this process, -1000 to 1000"},

	{path: "healthzBindAddress", name: "healthz-bind-address", usage: "address, and port unless 10256, of /healthz, /livez and /readyz (default 0.0.0.0:10256); empty or none: not served. In a file empty means the default, and none is needed", kind: "string", set: bindText},
	{path: "metricsBindAddress", name: "metrics-bind-address", usage: "address, and port unless 10249, of /metrics (default 127.0.0.1:10249); empty or none: not served", kind: "string", set: bindText},
	{path: "healthzBindAddress", name: "healthz-port", usage: "deprecated: port of --healthz-bind-address, 0: not served", kind: "int", late: true, old: "it is deprecated; use --healthz-bind-address", set: bindPort(false)},
	{path: "metricsBindAddress", name: "metrics-port", usage: "deprecated: port of --metrics-bind-address, 0: not served", kind: "int", late: true, old: "it is deprecated; use --metrics-bind-address", set: bindPort(true)},
	{path: "bindAddressHardFail", name: "bind-address-hard-fail", usage: "end when healthz or metrics cannot be served, instead of trying again"},
	{path: "enableProfiling", name: "profiling", usage: "serve /debug/pprof with the metrics"},
	{path: "trafficMetrics", name: "traffic-metrics", def: "off", choices: []string{"off", "service", "endpoint"}, usage: "export IPVS's counters of traffic: off, service (by Service port) or endpoint (by endpoint, too)"},
	{path: "trafficMetricsTop", name: "traffic-metrics-top", def: "1000", check: noLess(1), usage: "most series of traffic, the busiest first"},

	{path: "imagePrefixes.ipv4.cluster", name: "image-prefix", def: desired.DefaultImages[state.IPv4].Cluster.String(), usage: imageUsage[0]},
	{path: "imagePrefixes.ipv4.local", name: "image-prefix-local", def: desired.DefaultImages[state.IPv4].Local.String(), usage: imageUsage[1]},
	{path: "imagePrefixes.ipv4.nodePort", name: "image-prefix-nodeport", def: desired.DefaultImages[state.IPv4].NodePort.String(), usage: imageUsage[2]},
	{path: "imagePrefixes.ipv6.cluster", name: "image-prefix6", def: desired.DefaultImages[state.IPv6].Cluster.String(), usage: imageUsage[0]},
	{path: "imagePrefixes.ipv6.local", name: "image-prefix-local6", def: desired.DefaultImages[state.IPv6].Local.String(), usage: imageUsage[1]},
	{path: "imagePrefixes.ipv6.nodePort", name: "image-prefix-nodeport6", def: desired.DefaultImages[state.IPv6].NodePort.String(), usage: imageUsage[2]},

	{path: "featureGates", name: "feature-gates", live: true, usage: "as in kube-proxy, over those of the file; a warning names each gate without effect"},
	{path: "logging.format", name: "log-format", def: "text", choices: []string{"text", "json"}, aliases: []string{"logging-format"}, usage: "text or json"},
	{path: "logging.verbosity", name: "v", live: true, short: "v", bare: "4", usage: "verbosity of the log: below 4 it has what was done, from 4 on (-v alone) also rounds that wrote nothing"},
	{path: "logging.verbosity", name: "verbose", bare: "true", usage: "at least -v=4", kind: "bool", late: true, set: verbose},
	{path: "showHiddenMetricsForVersion", name: "show-hidden-metrics-for-version", usage: "accepted without effect: no metric is hidden"},
}

var imageUsage = [3]string{"private prefix of the mapped addresses of frontends", "the same for traffic from outside with externalTrafficPolicy Local",
	"the same for node ports, at least a /30 or /126"}

// none is the value of an address in a file that switches a server off.
const none = "none"

func bindText(_ *layers, v reflect.Value, text string) error {
	if text == "" {
		text = none
	}
	return setText(v, text, false, false)
}

// bindPort sets the port of an address from a flag or the file.
func bindPort(metrics bool) func(*layers, reflect.Value, string) error {
	return func(l *layers, v reflect.Value, text string) error {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return fmt.Errorf("%q is not a port", text)
		}
		if n == 0 {
			v.SetString(none)
			return nil
		}
		host := strings.Trim(v.String(), "[]")
		if h, _, err := net.SplitHostPort(v.String()); err == nil {
			host = h
		}
		if host == "" || host == none {
			bind, _ := addr(l.docs.Proxy.BindAddress)
			all, local := bindDefaults(bind)
			if host = all.String(); metrics {
				host = local.String()
			}
		}
		v.SetString(net.JoinHostPort(host, text))
		return nil
	}
}

func verbose(_ *layers, v reflect.Value, text string) error {
	yes, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("%q is not true or false", text)
	}
	if yes {
		v.SetUint(max(v.Uint(), DebugVerbosity))
	}
	return nil
}
