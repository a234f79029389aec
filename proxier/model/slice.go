package model

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"kube-ipvs/netutil/ipfamily"
)

const maxEndpoints = 1000 // the limit of API servers for a slice

// slice is the compact form of an EndpointSlice: with 100,000 endpoints or more, the API's
// objects would take most of the process's memory.
type slice struct {
	key       Key
	service   string // name of its service; empty: none
	family    ipfamily.Family
	weight    uint32      // annotation kube-ipvs/weight
	ports     []slicePort // sorted by name, without duplicates
	endpoints []endpoint
	next      *slice // of the same service
}

// Named is part of Keyed.
func (s *slice) Named() Key { return s.key }

type slicePort struct {
	name     string
	protocol corev1.Protocol
	port     uint16
}

// endpoint takes 56 bytes. Endpoints share equal names, which live as long as the last of them.
type endpoint struct {
	addr               [16]byte
	node               name
	traits             unique.Handle[traits]
	forNodes, forZones name // hints, separated by commas
	ready              bool
	serving            bool
	terminating        bool
}

// traits are attributes of an endpoint that many have together.
type traits struct{ zone, workload string }

type name = unique.Handle[string]

var (
	noName   = unique.Make("")
	noTraits = unique.Make(traits{})
)

// nameOf returns the handle of a name. It is fast for the empty name, the most frequent one.
func nameOf(text string) name {
	if text == "" {
		return noName
	}
	return unique.Make(text)
}

// owner names the service of s.
func (s *slice) owner() Key { return Key{s.key.Namespace, s.service} }

func (s *slice) equal(o *slice) bool {
	return s.service == o.service && s.family == o.family && s.weight == o.weight && slices.Equal(s.ports, o.ports) && slices.Equal(s.endpoints, o.endpoints)
}

// port returns the number of a service's port in s, or 0 if s does not have it. Both may have
// thousands of ports.
func (s *slice) port(p *Port) uint16 {
	at, ok := slices.BinarySearchFunc(s.ports, p.Name, func(sp slicePort, name string) int { return cmp.Compare(sp.name, name) })
	if !ok || s.ports[at].protocol != p.Protocol {
		return 0
	}
	return s.ports[at].port
}

// addr returns the address of an endpoint of s.
func (s *slice) addr(e *endpoint) netip.Addr {
	a := netip.AddrFrom16(e.addr)
	if s.family == ipfamily.IPv4 {
		a = a.Unmap()
	}
	return a
}

// readSlice reduces es to the fields that the choice of endpoints needs, and notes its faults
// in c. reserved is the argument of Model.Reserve.
func readSlice(es *discoveryv1.EndpointSlice, c *critic, reserved func(netip.Addr) string) *slice {
	s := &slice{key: Key{es.Namespace, es.Name}}
	service := es.Labels[discoveryv1.LabelServiceName]
	switch {
	case !goodLabel(es.Namespace):
		c.fault("metadata.namespace", omitObject, "%q is not a DNS label", es.Namespace)
		return s
	case !goodName(es.Name):
		c.fault("metadata.name", omitObject, "%q is not a DNS name", es.Name)
		return s
	case service == "" || headlessSlice(es.Labels):
		return s
	}
	switch es.AddressType {
	case discoveryv1.AddressTypeIPv4:
	case discoveryv1.AddressTypeIPv6:
		s.family = ipfamily.IPv6
	case discoveryv1.AddressTypeFQDN:
		return s
	default:
		c.fault("addressType", omitObject, "%q is not IPv4, IPv6 or FQDN", es.AddressType)
		return s
	}
	s.service = service
	s.weight = readSliceWeight(es.Annotations, c)
	noteUnknown(es.Annotations, knownOfSlices, c)
	s.readPorts(es.Ports, c)
	s.readEndpoints(es.Endpoints, c, reserved)
	return s
}

// headlessSlice reports whether the labels of a slice say that no proxy needs it.
func headlessSlice(labels map[string]string) bool {
	_, headless := labels[corev1.IsHeadlessService]
	return headless
}

func (s *slice) readPorts(in []discoveryv1.EndpointPort, c *critic) {
	const omit = "this port is left out"
	seen := make(map[string]bool, len(in))
	for i, p := range in {
		out := slicePort{protocol: corev1.ProtocolTCP}
		if p.Protocol != nil && *p.Protocol != "" {
			out.protocol = *p.Protocol
		}
		switch {
		case p.Name == nil:
			c.fault(at("ports", i, "name"), omit, "without a name it matches no port of a service")
			continue
		case p.Port == nil:
			c.fault(at("ports", i, "port"), omit, "it has no port number, and a proxy needs one")
			continue
		case portNumber(*p.Port) == 0:
			c.fault(at("ports", i, "port"), omit, "%d is not in 1..65535", *p.Port)
			continue
		case !knownProtocol(out.protocol):
			c.fault(at("ports", i, "protocol"), omit, "%q is not TCP, UDP or SCTP", out.protocol)
			continue
		case *p.Name != "" && !goodLabel(*p.Name):
			c.fault(at("ports", i, "name"), omit, "%q is not a DNS label", *p.Name)
			continue
		case seen[*p.Name]:
			c.fault(at("ports", i, "name"), omit, "%q occurs twice", *p.Name)
			continue
		}
		seen[*p.Name] = true
		out.name, out.port = *p.Name, portNumber(*p.Port)
		s.ports = append(s.ports, out)
	}
	slices.SortFunc(s.ports, func(a, b slicePort) int { return cmp.Compare(a.name, b.name) })
}

func (s *slice) readEndpoints(in []discoveryv1.Endpoint, c *critic, reserved func(netip.Addr) string) {
	const omit = "this endpoint is left out"
	if len(in) > maxEndpoints {
		c.fault("endpoints", "the rest is left out", "%d endpoints are more than %d", len(in), maxEndpoints)
		in = in[:maxEndpoints]
	}
	if len(in) > 0 {
		s.endpoints = make([]endpoint, 0, len(in))
	}
	for i := range in {
		if len(in[i].Addresses) == 0 {
			c.fault(at("endpoints", i, "addresses"), omit, "there is no address")
			continue
		}
		a, why := parseAddr(in[i].Addresses[0])
		switch {
		case why != "":
			c.fault(at("endpoints", i, "addresses[0]"), omit, "%s", why)
		case ipfamily.Of(a) != s.family:
			c.fault(at("endpoints", i, "addresses[0]"), omit, "%s is %s, and addressType is not", a, familyOf(a))
		case reserved != nil && reserved(a) != "":
			c.fault(at("endpoints", i, "addresses[0]"), omit, "%s", reserved(a))
		default:
			s.endpoints = append(s.endpoints, readEndpoint(a, &in[i]))
		}
	}
}

func readEndpoint(a netip.Addr, in *discoveryv1.Endpoint) endpoint {
	e := endpoint{
		addr: a.As16(), node: noName, traits: traitsOf(in), forNodes: noName, forZones: noName,
		ready:       orTrue(in.Conditions.Ready),
		serving:     orTrue(in.Conditions.Serving),
		terminating: in.Conditions.Terminating != nil && *in.Conditions.Terminating,
	}
	if in.NodeName != nil {
		e.node = unique.Make(*in.NodeName)
	}
	if in.Hints != nil {
		e.forNodes = joined(in.Hints.ForNodes, func(n discoveryv1.ForNode) string { return n.Name })
		e.forZones = joined(in.Hints.ForZones, func(z discoveryv1.ForZone) string { return z.Name })
	}
	return e
}

func traitsOf(in *discoveryv1.Endpoint) unique.Handle[traits] {
	var t traits
	if in.Zone != nil {
		t.zone = *in.Zone
	}
	if ref := in.TargetRef; ref != nil && ref.Kind == "Pod" {
		t.workload = Workload(ref.Name)
	}
	if t == (traits{}) {
		return noTraits
	}
	return unique.Make(t)
}

func orTrue(b *bool) bool { return b == nil || *b }

// joined makes one name of many: in most clusters each endpoint has hints for one zone only.
func joined[T any](in []T, text func(T) string) name {
	switch len(in) {
	case 0:
		return noName
	case 1:
		return unique.Make(text(in[0]))
	}
	all := make([]string, 0, len(in))
	for _, t := range in {
		all = append(all, text(t))
	}
	return unique.Make(strings.Join(all, ","))
}

// lists reports whether a joined name contains one.
func lists(all, one name) bool {
	if one == noName || all == noName {
		return false
	}
	return all == one || contains(all.Value(), one.Value())
}

func contains(all, one string) bool {
	for s := range strings.SplitSeq(all, ",") {
		if s == one {
			return true
		}
	}
	return false
}
