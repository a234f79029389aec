package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-proxy/config/v1alpha1"
)

// KubeIPVSConfiguration has the settings of kube-ipvs that kube-proxy does not have.
type KubeIPVSConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	// ClusterIPServers says where the virtual servers of ClusterIPs stand: image (default), at
	// mapped addresses, or direct.
	ClusterIPServers string `json:"clusterIPServers"`
	// Manifests are files and folders with Services and EndpointSlices. Empty:
	// the API server.
	Manifests []string `json:"manifests"`
	// APIServers are used instead of the server that the kubeconfig names.
	APIServers []string `json:"apiServers"`
	// ServiceProxyName is the value of the label
	// service.kubernetes.io/service-proxy-name of the Services to serve.
	// Empty: Services without the label.
	ServiceProxyName string `json:"serviceProxyName"`
	// Zone of the node, for topology hints. Empty: the Node object has it.
	Zone string `json:"zone"`
	// NodeIPs are the node's own addresses, at most one for each family.
	NodeIPs []string `json:"nodeIPs"`
	// AuditPeriod is the longest time between full comparisons with the kernel.
	AuditPeriod metav1.Duration `json:"auditPeriod"`
	// DrainTimeout is how long connections of a removed endpoint may go on.
	DrainTimeout metav1.Duration `json:"drainTimeout"`
	// MaxServiceFrontends is how many frontends one Service may have, each an
	// address, port and protocol. 0: any number.
	MaxServiceFrontends int32 `json:"maxServiceFrontends"`
	// VIPBinding is address or route.
	VIPBinding string `json:"vipBinding"`
	// IPTablesBackend is nft, legacy or auto.
	IPTablesBackend string `json:"iptablesBackend"`
	// ImagePrefixes are the prefixes of mapped addresses of each family.
	ImagePrefixes ImagePrefixes `json:"imagePrefixes"`
	// TrafficMetrics is off, service or endpoint.
	TrafficMetrics string `json:"trafficMetrics"`
	// TrafficMetricsTop is the largest number of series of traffic.
	TrafficMetricsTop int32 `json:"trafficMetricsTop"`
	// Takeover adopts the virtual servers of kube-proxy.
	Takeover bool `json:"takeover"`
}

// ImagePrefixes are the prefixes of mapped addresses of both families.
type ImagePrefixes struct {
	IPv4 ImagePrefixSet `json:"ipv4"`
	IPv6 ImagePrefixSet `json:"ipv6"`
}

// ImagePrefixSet has the prefixes of desired.Images as text.
type ImagePrefixSet struct {
	Cluster  string `json:"cluster"`
	Local    string `json:"local"`
	NodePort string `json:"nodePort"`
}

// Kinds and versions of the documents.
const (
	proxyKind    = "KubeProxyConfiguration"
	proxyVersion = v1alpha1.GroupName + "/v1alpha1"
	ownKind      = "KubeIPVSConfiguration"
	ownGroup     = "kube-ipvs"
	ownVersion   = ownGroup + "/v1alpha1"
)

// documents has both documents. They have no path in common, so that a path names one field.
type documents struct {
	proxy v1alpha1.KubeProxyConfiguration
	own   KubeIPVSConfiguration
}

// document returns a document for reflection, by its kind.
func (d *documents) document(kind string) reflect.Value {
	if kind == ownKind {
		return reflect.ValueOf(&d.own).Elem()
	}
	return reflect.ValueOf(&d.proxy).Elem()
}

// fields returns all fields of both documents by path.
func (d *documents) fields() map[string]reflect.Value {
	out := map[string]reflect.Value{}
	for _, kind := range []string{proxyKind, ownKind} {
		for path, v := range leaves(d.document(kind)) {
			out[path] = v
		}
	}
	return out
}

// defaultFields are the fields of defaults, to read only.
var defaultFields = sync.OnceValue(func() map[string]reflect.Value { return defaults().fields() })

// Defaults of more than one place.
const (
	healthzPort = 10256
	metricsPort = 10249
)

// defaults returns the defaults of specs, which are kube-proxy's own for its settings. The addresses of
// healthz and metrics are not among them, since they depend on bindAddress.
func defaults() *documents {
	d := &documents{}
	fields := d.fields()
	for i := range specs {
		s := &specs[i]
		if s.def == "" {
			continue
		}
		if err := setText(fields[s.path], s.def, false, false); err != nil {
			panic(fmt.Sprintf("the default of %s: %v", s.path, err)) // every start would panic
		}
	}
	return d
}

// bindDefaults returns the default addresses of healthz and metrics.
func bindDefaults(bind netip.Addr) (healthz, metrics netip.Addr) {
	if bind.Is6() {
		return netip.IPv6Unspecified(), netip.IPv6Loopback()
	}
	return netip.IPv4Unspecified(), netip.MustParseAddr("127.0.0.1")
}
