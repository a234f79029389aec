// Package config reads the configuration of kube-ipvs: the file and flags of kube-proxy, and settings
// that kube-proxy does not have. A value comes from its flag, or else from the file, or else from the
// default. Load returns all errors at once, by flag or by file, line and field. Accepted settings
// without an effect cause warnings.
//
// The file has at most one document of each kind, in any order:
//
//	KubeProxyConfiguration  kubeproxy.config.k8s.io/v1alpha1, as kube-proxy reads it
//	KubeIPVSConfiguration   kube-ipvs/v1alpha1, see the type
package config

import (
	"net/netip"
	"time"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
)

// Config is the effective configuration.
type Config struct {
	// The node.
	Zone        string       // empty: the Node object has it
	NodeIPs     []netip.Addr // at most one for each family; a family without one uses that of its default route
	BindAddress netip.Addr   // primary address of the node; unspecified: not set. Nothing is bound to it

	// Where objects come from.
	Manifests        []string // files and folders; empty: the API server
	APIServers       []string // URLs or host:port, instead of the kubeconfig's server
	Client           Client
	ConfigSyncPeriod time.Duration // without effect: a watch needs no resync
	ServiceProxyName string        // label of the Services to serve; empty: those without the label

	// The configured part of rendering. NodeName is in lower case, and the host's name by
	// default. PodCIDRs count only if PodTraffic is ClusterCIDR. Facts of the node are not in
	// it.
	desired.Config
	PodTraffic          LocalMode       // how kube-ipvs knows traffic of pods
	BridgeInterface     string          // for PodTraffic BridgeInterface
	InterfaceNamePrefix string          // for PodTraffic InterfaceNamePrefix
	PrimaryNodePorts    bool            // the node's primary addresses serve node ports, too
	VIPBinding          netutil.Binding // how a ClusterIP becomes the node's own
	IPTablesBackend     netutil.Backend // empty: find out
	DrainTimeout        time.Duration
	Takeover            bool           // adopt the objects of kube-proxy's IPVS mode
	ExcludeCIDRs        []netip.Prefix // Takeover adopts no virtual servers in these

	// The loop.
	SyncPeriod    time.Duration // /healthz fails if an update takes more than twice this time
	MinSyncPeriod time.Duration // least time between two rounds
	AuditPeriod   time.Duration // longest time between full comparisons with the kernel

	// Settings of the kernel. 0 leaves a setting.
	StrictARP   bool
	Conntrack   Conntrack
	OOMScoreAdj int // of this process

	// Servers. An invalid address means that the server is off.
	HealthzAddress      netip.AddrPort
	MetricsAddress      netip.AddrPort
	BindAddressHardFail bool // a failure to bind ends the process
	Profiling           bool // pprof on the metrics server
	TrafficMetrics      TrafficMetrics
	TrafficMetricsTop   int // most series of traffic, the busiest first

	FeatureGates map[string]bool // as given
	LogFormat    string          // text or json
	Verbosity    int             // as kube-proxy counts; DebugVerbosity and more: debug

	// Origins has the source of each field, by its path in the file: "default", "file F" or
	// "flag --x".
	Origins map[string]string
	// Warnings are about settings without effect, or that will have none soon.
	Warnings []string
	// File is the file that was read, or empty, and Digest that of its content.
	File   string
	Digest Digest

	docs *documents
}

// DebugVerbosity is the least verbosity with which the log has every round, as in kube-proxy.
const DebugVerbosity = 4

// Client configures the connection to the API server.
type Client struct {
	Kubeconfig         string // empty: the configuration of a pod, unless APIServers are given
	AcceptContentTypes string
	ContentType        string
	QPS                float32 // negative: no limit
	Burst              int
}

// Conntrack has settings of the kernel's connection tracking. 0 leaves a setting.
type Conntrack struct {
	MaxPerCore            int // the table holds max(Min, MaxPerCore*cores)
	Min                   int
	TCPEstablishedTimeout time.Duration
	TCPCloseWaitTimeout   time.Duration
	UDPTimeout            time.Duration
	UDPStreamTimeout      time.Duration
	TCPBeLiberal          bool
}

// LocalMode says how kube-ipvs knows traffic of this node's pods, with kube-proxy's words.
type LocalMode string

// The modes.
const (
	ByClusterCIDR     LocalMode = "ClusterCIDR"
	ByNodeCIDR        LocalMode = "NodeCIDR"
	ByBridgeInterface LocalMode = "BridgeInterface"
	ByInterfacePrefix LocalMode = "InterfaceNamePrefix"
)

// TrafficMetrics says how metrics split the counters of IPVS.
type TrafficMetrics string

// The choices.
const (
	TrafficOff        TrafficMetrics = "off"
	TrafficByService  TrafficMetrics = "service"
	TrafficByEndpoint TrafficMetrics = "endpoint"
)
