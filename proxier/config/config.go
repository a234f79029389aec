// Package config reads the configuration of kube-ipvs: the file and flags of kube-proxy, and settings
// that kube-proxy does not have. A value comes from its flag, or else from the file, or else from the
// default. Load returns all errors at once, by flag or by file, line and field. Accepted settings
// without an effect cause warnings. A setting stands in three places: its field in a document, its
// flag in specs, and its use.
//
// The file has at most one document of each kind, in any order:
//
//	KubeProxyConfiguration  kubeproxy.config.k8s.io/v1alpha1, as kube-proxy reads it
//	KubeIPVSConfiguration   kube-ipvs/v1alpha1, see the type
package config

import (
	"net/netip"
	"time"

	"k8s.io/kube-proxy/config/v1alpha1"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
)

// Config is the effective configuration: both documents, Proxy and Own, and what is not plain
// text or numbers in them.
type Config struct {
	*documents

	// The configured part of rendering. NodeName is in lower case, and the host's name by
	// default. PodCIDRs count only with detectLocalMode ClusterCIDR. Facts of the node are not
	// in it.
	desired.Config
	PrimaryNodePorts bool            // the node's primary addresses serve node ports, too
	NodeIPs          []netip.Addr    // at most one for each family; a family without one uses that of its default route
	BindAddress      netip.Addr      // primary address of the node; unspecified: not set. Nothing is bound to it
	IPTablesBackend  netutil.Backend // empty: find out
	ExcludeCIDRs     []netip.Prefix  // a takeover adopts no virtual servers in these
	Conntrack        Conntrack
	HealthzAddress   netip.AddrPort // invalid: the server is off
	MetricsAddress   netip.AddrPort // invalid: the server is off

	// Origins has the source of each field, by its path in the file: "default", "file F" or
	// "flag --x".
	Origins map[string]string
	// Warnings are about settings without effect, or that will have none soon.
	Warnings []string
	// File is the file that was read, or empty, and Digest that of its content.
	File   string
	Digest Digest
}

// DebugVerbosity is the least verbosity with which the log has every round, as in kube-proxy.
const DebugVerbosity = 4

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

// The modes of detectLocalMode, which says how kube-ipvs knows traffic of this node's pods.
const (
	ByClusterCIDR     v1alpha1.LocalMode = "ClusterCIDR"
	ByNodeCIDR        v1alpha1.LocalMode = "NodeCIDR"
	ByBridgeInterface v1alpha1.LocalMode = "BridgeInterface"
	ByInterfacePrefix v1alpha1.LocalMode = "InterfaceNamePrefix"
)

// TrafficMetrics says how metrics split the counters of IPVS.
type TrafficMetrics string

// The choices.
const (
	TrafficOff        TrafficMetrics = "off"
	TrafficByService  TrafficMetrics = "service"
	TrafficByEndpoint TrafficMetrics = "endpoint"
)
