// Package model holds what the cluster says, as one node sees it: Services
// and their endpoints, defaulted, validated and reduced to what a service
// proxy needs. It knows which endpoints each kind of virtual IP may use on
// this node; it knows nothing of the kernel.
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

// Node is what endpoint choice must know of the node that this process serves.
type Node struct {
	Name string // as in the nodeName of endpoints
	Zone string // label topology.kubernetes.io/zone, empty if it has none
}

// Service is a Service as a proxy sees it. It is immutable: a change makes a new one.
type Service struct {
	Key             Key
	UID             string
	Created         time.Time    // zero if the manifest does not say
	ClusterIPs      []netip.Addr // one a family at most
	ExternalIPs     []netip.Addr
	LoadBalancerIPs []netip.Addr   // ingress addresses whose ipMode is VIP
	SourceRanges    []netip.Prefix // who may use LoadBalancerIPs, sorted, none in another; empty: all clients
	ExternalLocal   bool           // externalTrafficPolicy Local
	InternalLocal   bool           // internalTrafficPolicy Local
	HealthCheckPort uint16         // healthCheckNodePort where it counts: LoadBalancer and ExternalLocal; 0 for none
	Affinity        time.Duration  // ClientIP session affinity, 0 for none
	Scheduler       string         // annotation kube-ipvs/scheduler, empty for the node's default
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

// Endpoints are those of one port and one family, as this node may use them.
// The slices are sorted and without duplicates.
type Endpoints struct {
	Cluster []netip.AddrPort // for virtual IPs with policy Cluster, after topology hints
	Local   []netip.AddrPort // for virtual IPs with policy Local
	OnNode  []netip.AddrPort // every endpoint on this node, ready or not, for hairpin traffic
	Serving []netip.AddrPort // of a UDP port: all that answer still, wherever they are, and ready or terminating: flows stay with them
	Any     bool             // some endpoint anywhere may serve: without it a frontend is refused, with it at most dropped
}

// View is a Service with its endpoints: all that rendering it needs.
type View struct {
	*Service
	Origin string      // where the Service came from, for messages
	V4, V6 []Endpoints // by index of Ports; all empty in a family that the service does not serve
	// LocalReady is the number of different ready addresses on this node, IPv4
	// and IPv6: what HealthCheckPort answers with. A Service of one family has the
	// same number for both, as kube-proxy's listener of that family takes clients of
	// both.
	LocalReady [2]int
}

// Problem is something wrong with an object, for whoever wrote it.
type Problem struct {
	UID     string // of the object, empty if unknown
	Origin  string // where the object came from, such as a file and document; empty for the API server
	Object  string // kind and namespace/name, such as "Service default/web"; empty if unknown
	Field   string // path such as spec.ports[0].port; empty if the whole object
	Message string // what is wrong and what happens now
}

// String returns all parts on one line.
func (p Problem) String() string {
	s := ""
	for _, part := range []string{p.Origin, p.Object, p.Field} {
		if part != "" {
			s += part + ": "
		}
	}
	// Names and values in it may be anything that somebody wrote into a file.
	return strings.Join(strings.FieldsFunc(s+p.Message, unicode.IsControl), " ")
}
