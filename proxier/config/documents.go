package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-proxy/config/v1alpha1"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
)

// KubeIPVSConfiguration has the settings of kube-ipvs that kube-proxy does not have. The flags in
// specs, and docs/configuration.md, say what each means.
type KubeIPVSConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	ClusterIPServers    desired.Mode    `json:"clusterIPServers"`
	Manifests           []string        `json:"manifests"`
	APIServers          []string        `json:"apiServers"`
	ServiceProxyName    string          `json:"serviceProxyName"`
	Zone                string          `json:"zone"`
	NodeIPs             []string        `json:"nodeIPs"`
	AuditPeriod         metav1.Duration `json:"auditPeriod"`
	DrainTimeout        metav1.Duration `json:"drainTimeout"`
	MaxServiceFrontends int32           `json:"maxServiceFrontends"`
	VIPBinding          netutil.Binding `json:"vipBinding"`
	IPTablesBackend     string          `json:"iptablesBackend"`
	ImagePrefixes       ImagePrefixes   `json:"imagePrefixes"`
	TrafficMetrics      TrafficMetrics  `json:"trafficMetrics"`
	TrafficMetricsTop   int32           `json:"trafficMetricsTop"`
	Takeover            bool            `json:"takeover"`
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
	Proxy v1alpha1.KubeProxyConfiguration
	Own   KubeIPVSConfiguration
}

// document returns a document for reflection, by its kind.
func (d *documents) document(kind string) reflect.Value {
	if kind == ownKind {
		return reflect.ValueOf(&d.Own).Elem()
	}
	return reflect.ValueOf(&d.Proxy).Elem()
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
