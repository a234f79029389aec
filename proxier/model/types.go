// Package model has the Services of the cluster and their endpoints, as one node sees them. It
// defaults and validates them, and reduces them to the fields that a service proxy needs. It
// chooses the endpoints that each kind of virtual IP may use on this node. It knows nothing of
// the kernel.
package model

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
)

// Key names a Service.
type Key struct{ Namespace, Name string }

// String returns namespace/name.
func (k Key) String() string { return k.Namespace + "/" + k.Name }

// Compare orders Keys by namespace, then name.
func (k Key) Compare(o Key) int {
	if k.Namespace != o.Namespace {
		return cmp.Compare(k.Namespace, o.Namespace)
	}
	return cmp.Compare(k.Name, o.Name)
}

// Node has the facts about this node that the choice of endpoints needs.
type Node struct {
	Name string // as in the nodeName of endpoints
	Zone string // label topology.kubernetes.io/zone, empty if it has none
}

// Service is a Service as a proxy sees it. It is immutable: a change makes a new one.
type Service struct {
	Key             Key
	UID             string
	Created         time.Time    // zero if the manifest does not say
	ClusterIPs      []netip.Addr // at most one for each family
	ExternalIPs     []netip.Addr
	LoadBalancerIPs []netip.Addr   // ingress addresses whose ipMode is VIP
	SourceRanges    []netip.Prefix // clients that may use LoadBalancerIPs, sorted, without overlaps; empty: all
	ExternalLocal   bool           // externalTrafficPolicy Local
	InternalLocal   bool           // internalTrafficPolicy Local
	HealthCheckPort uint16         // healthCheckNodePort of a LoadBalancer with ExternalLocal; 0 for none
	Affinity        time.Duration  // ClientIP session affinity, 0 for none
	Balance         *Balance       // by annotations, never nil
	Ports           []Port
}

// Serves reports whether the service has a cluster IP of a's family. Only in
// such a family does it have external addresses, node ports and endpoints.
func (s *Service) Serves(a netip.Addr) bool {
	return slices.ContainsFunc(s.ClusterIPs, func(c netip.Addr) bool { return c.Is4() == a.Is4() })
}

// Port is one port of a Service.
type Port struct {
	Name     string
	Protocol corev1.Protocol
	Port     uint16
	NodePort uint16 // 0 for none
}

// Endpoints has the endpoints of one port and one family that this node may use. The slices
// are sorted and have no duplicates.
type Endpoints struct {
	Cluster []netip.AddrPort // for virtual IPs with policy Cluster, after topology hints
	Local   []netip.AddrPort // for virtual IPs with policy Local
	OnNode  []netip.AddrPort // every endpoint on this node, ready or not, for hairpin traffic
	Serving []netip.AddrPort // of a UDP port: all endpoints that still answer, ready or terminating, on any node: flows stay with them
	// ClusterWeights and LocalWeights are the weights of Cluster and Local, in their order;
	// nil: all are equal.
	ClusterWeights, LocalWeights []uint32
	Any                          bool // an endpoint on some node may serve. If not, a frontend is refused; if so, it is at most dropped
}

// View has a Service and its endpoints, for rendering.
type View struct {
	*Service
	Origin    string         // the source of the Service, for messages
	Endpoints [2][]Endpoints // by family and index of Ports; all empty in a family that the service does not serve
	// LocalReady is the number of different ready addresses on this node, IPv4 and IPv6, that
	// HealthCheckPort answers with. A Service of one family has the same number for both, as
	// kube-proxy's listener of that family serves clients of both.
	LocalReady [2]int
}

// Problem is a fault of an object, for its author.
type Problem struct {
	UID     string // of the object, empty if unknown
	Origin  string // the source of the object, such as a file and document; empty for the API server
	Object  string // kind and namespace/name, such as "Service default/web"; empty if unknown
	Field   string // path such as spec.ports[0].port; empty if the whole object
	Message string // the fault, and what kube-ipvs does about it
	Reason  string // of its Event, such as EndpointsFull; empty: the object cannot be programmed as it is
}

// The reasons of Problems of Services that are programmed as they are.
const (
	EndpointsFull   = "EndpointsFull"   // all endpoints have as many connections as they may have
	EndpointsSilent = "EndpointsSilent" // endpoints do not answer
)

// String returns all parts on one line.
func (p Problem) String() string {
	s := ""
	for _, part := range []string{p.Origin, p.Object, p.Field} {
		if part != "" {
			s += part + ": "
		}
	}
	// Names and values may be any text from a file.
	return strings.Join(strings.FieldsFunc(s+p.Message, unicode.IsControl), " ")
}
