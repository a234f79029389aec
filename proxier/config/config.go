// Package config is the configuration of kube-ipvs: what kube-proxy's file and
// flags say, and what kube-proxy has no word for. A value comes from its flag,
// else from the file, else from the default. Everything that is wrong is told
// at once, by flag or by file, line and field; everything that is accepted but
// has no effect is told as a warning.
//
// The file holds at most one document of each kind, in any order:
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
	Zone        string       // empty: the Node object says it
	NodeIPs     []netip.Addr // at most one a family; a family without any: that of its default route
	BindAddress netip.Addr   // primary address of the node, unspecified: not said. Nothing is bound to it

	// Where objects come from.
	Manifests        []string // files and folders; empty: the API server
	APIServers       []string // URLs or host:port, instead of the kubeconfig's server
	Client           Client
	ConfigSyncPeriod time.Duration // of no effect: a watch needs no resync
	ServiceProxyName string        // which Services are meant; empty: those without the label

	// What is programmed, as far as the configuration says it. NodeName is in lower case,
	// and the host's unless given; PodCIDRs count where PodTraffic is ClusterCIDR. What is
	// found on the node is not in it.
	desired.Config
	PodTraffic          LocalMode       // how traffic of pods is known
	BridgeInterface     string          // of PodTraffic BridgeInterface
	InterfaceNamePrefix string          // of PodTraffic InterfaceNamePrefix
	PrimaryNodePorts    bool            // the node's primary addresses serve node ports, too
	VIPBinding          netutil.Binding // how a ClusterIP becomes the node's own
	IPTablesBackend     netutil.Backend // empty: find out
	DrainTimeout        time.Duration
	Takeover            bool           // adopt what kube-proxy's IPVS mode has left
	ExcludeCIDRs        []netip.Prefix // virtual servers in these are not adopted

	// The loop.
	SyncPeriod    time.Duration // an update that is unfinished for twice this turns /healthz red
	MinSyncPeriod time.Duration // least time between two rounds
	AuditPeriod   time.Duration // between full comparisons with the kernel, at most

	// Settings of the kernel. 0 leaves what is.
	StrictARP   bool
	Conntrack   Conntrack
	OOMScoreAdj int // of this process

	// What is served. An invalid address: not served.
	HealthzAddress      netip.AddrPort
	MetricsAddress      netip.AddrPort
	BindAddressHardFail bool // failing to bind ends the process
	Profiling           bool // pprof on the metrics server
	TrafficMetrics      TrafficMetrics
	TrafficMetricsTop   int // at most so many series, the busiest

	FeatureGates map[string]bool // as given
	LogFormat    string          // text or json
	Verbosity    int             // as kube-proxy counts; DebugVerbosity and more: debug

	// Origins says of each field, by its path in the file, where its value
	// comes from: "default", "file F" or "flag --x".
	Origins map[string]string
	// Warnings say what was given and has no effect, or will have none soon.
	Warnings []string
	// File is the file that was read, empty if none, and Digest is of what it held.
	File   string
	Digest Digest

	docs *documents
}

// DebugVerbosity is where kube-proxy begins to tell what it does round by round.
const DebugVerbosity = 4

// Client is how to talk to the API server.
type Client struct {
	Kubeconfig         string // empty: as a pod, unless APIServers are given
	AcceptContentTypes string
	ContentType        string
	QPS                float32 // negative: no limit
	Burst              int
}

// Conntrack is what to set of the kernel's connection tracking. 0 leaves what is.
type Conntrack struct {
	MaxPerCore            int // the table holds max(Min, MaxPerCore*cores)
	Min                   int
	TCPEstablishedTimeout time.Duration
	TCPCloseWaitTimeout   time.Duration
	UDPTimeout            time.Duration
	UDPStreamTimeout      time.Duration
	TCPBeLiberal          bool
}

// LocalMode says how traffic of this node's pods is known, in kube-proxy's words.
type LocalMode string

// The modes.
const (
	ByClusterCIDR     LocalMode = "ClusterCIDR"
	ByNodeCIDR        LocalMode = "NodeCIDR"
	ByBridgeInterface LocalMode = "BridgeInterface"
	ByInterfacePrefix LocalMode = "InterfaceNamePrefix"
)

// TrafficMetrics says what IPVS counters are exported by.
type TrafficMetrics string

// The choices.
const (
	TrafficOff        TrafficMetrics = "off"
	TrafficByService  TrafficMetrics = "service"
	TrafficByEndpoint TrafficMetrics = "endpoint"
)
