package model

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const labelProxyName = "service.kubernetes.io/service-proxy-name"

// readService reduces svc to the fields that a proxy needs, and notes its faults in c. It
// returns nil if svc is not for kube-ipvs. Fields that API servers set may be missing.
func readService(svc *corev1.Service, c *critic) *Service {
	if !goodLabel(svc.Namespace) {
		c.fault("metadata.namespace", omitObject, "%q is not a DNS label", svc.Namespace)
		return nil
	}
	if !goodLabel(svc.Name) {
		c.fault("metadata.name", omitObject, "%q is not a DNS label", svc.Name)
		return nil
	}
	kind := readType(svc.Spec.Type, c)
	if foreign(svc.Labels) || kind == corev1.ServiceTypeExternalName || headless(&svc.Spec, kind, c) {
		return nil
	}
	s := &Service{
		Key:        Key{svc.Namespace, svc.Name},
		UID:        string(svc.UID),
		Created:    svc.CreationTimestamp.UTC(),
		ClusterIPs: readClusterIPs(&svc.Spec, c),
		Affinity:   readAffinity(&svc.Spec, c),
		Balance:    readBalance(svc.Annotations, c),
		Ports:      readPorts(svc.Spec.Ports, kind, c),
	}
	noteUnknown(svc.Annotations, known, c)
	if len(s.ClusterIPs) == 0 {
		return nil
	}
	s.ExternalIPs = readExternalIPs(svc.Spec.ExternalIPs, s, c)
	readLoadBalancer(svc, kind, s, c)
	readPolicies(&svc.Spec, kind, s, c)
	return s
}

// foreign reports whether the labels give a service to another proxy.
func foreign(labels map[string]string) bool {
	_, other := labels[labelProxyName]
	return other
}

func readType(t corev1.ServiceType, c *critic) corev1.ServiceType {
	switch t {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName:
		return t
	case "":
	default:
		c.fault("spec.type", "it is treated as ClusterIP", "%q is not a type of service", t)
	}
	return corev1.ServiceTypeClusterIP
}

func headless(spec *corev1.ServiceSpec, kind corev1.ServiceType, c *critic) bool {
	if spec.ClusterIP != corev1.ClusterIPNone && !(spec.ClusterIP == "" && slices.Contains(spec.ClusterIPs, corev1.ClusterIPNone)) {
		return false
	}
	if kind != corev1.ServiceTypeClusterIP {
		c.fault("spec.clusterIP", omitObject, "a service of type %s cannot be headless", kind)
	}
	return true
}

// given returns the texts of the cluster IPs, and the field of entry i.
func given(spec *corev1.ServiceSpec, c *critic) (texts []string, field func(i int) string) {
	if len(spec.ClusterIPs) == 0 && spec.ClusterIP != "" {
		return []string{spec.ClusterIP}, func(int) string { return "spec.clusterIP" }
	}
	if spec.ClusterIP != "" && spec.ClusterIP != spec.ClusterIPs[0] {
		c.fault("spec.clusterIP", "clusterIPs counts", "%q is not the first of clusterIPs", spec.ClusterIP)
	}
	return spec.ClusterIPs, func(i int) string { return at("spec.clusterIPs", i, "") }
}

func readClusterIPs(spec *corev1.ServiceSpec, c *critic) []netip.Addr {
	texts, field := given(spec, c)
	if len(texts) > 2 {
		c.fault("spec.clusterIPs", "the first of each family is used", "%d addresses are more than two", len(texts))
	}
	var out []netip.Addr
	for i, text := range texts {
		a, why := parseAddr(text)
		switch {
		case why != "":
			c.fault(field(i), omitAddr, "%s", why)
		case slices.ContainsFunc(out, func(o netip.Addr) bool { return o.Is4() == a.Is4() }):
			c.fault(field(i), omitAddr, "%s is the second %s address", a, familyOf(a))
		case len(spec.IPFamilies) > 0 && !slices.Contains(spec.IPFamilies, familyOf(a)):
			c.fault(field(i), omitAddr, "%s is %s, which ipFamilies does not list", a, familyOf(a))
		default:
			out = append(out, a)
		}
	}
	switch {
	case len(texts) == 0:
		c.fault("spec.clusterIP", "the service is not served", "it has no cluster IP, and kube-ipvs allocates none")
	case len(out) == 0:
		c.fault("spec.clusterIPs", omitObject, "no usable address is left")
	}
	return out
}

func readAffinity(spec *corev1.ServiceSpec, c *critic) time.Duration {
	switch spec.SessionAffinity {
	case "", corev1.ServiceAffinityNone:
		return 0
	case corev1.ServiceAffinityClientIP:
	default:
		c.fault("spec.sessionAffinity", "there is no affinity", "%q is neither None nor ClientIP", spec.SessionAffinity)
		return 0
	}
	seconds := int32(corev1.DefaultClientIPServiceAffinitySeconds)
	if config := spec.SessionAffinityConfig; config != nil && config.ClientIP != nil && config.ClientIP.TimeoutSeconds != nil {
		if n := *config.ClientIP.TimeoutSeconds; n >= 1 && n <= 86400 {
			seconds = n
		} else {
			c.fault("spec.sessionAffinityConfig.clientIP.timeoutSeconds", "10800 is used", "%d is not in 1..86400", n)
		}
	}
	return time.Duration(seconds) * time.Second
}

// readPolicies reads the traffic policies. s already has its external addresses and ports.
func readPolicies(spec *corev1.ServiceSpec, kind corev1.ServiceType, s *Service, c *critic) {
	switch p := spec.ExternalTrafficPolicy; p {
	case "", corev1.ServiceExternalTrafficPolicyCluster:
	case corev1.ServiceExternalTrafficPolicyLocal:
		s.ExternalLocal = hasNodePorts(kind) || len(spec.ExternalIPs) > 0
	default:
		c.fault("spec.externalTrafficPolicy", "it is treated as Cluster", "%q is neither Cluster nor Local", p)
	}
	if p := spec.InternalTrafficPolicy; p != nil {
		switch *p {
		case "", corev1.ServiceInternalTrafficPolicyCluster:
		case corev1.ServiceInternalTrafficPolicyLocal:
			s.InternalLocal = true
		default:
			c.fault("spec.internalTrafficPolicy", "it is treated as Cluster", "%q is neither Cluster nor Local", *p)
		}
	}
	if n := spec.HealthCheckNodePort; n != 0 {
		if portNumber(n) == 0 {
			c.fault("spec.healthCheckNodePort", "there is no health check", "%d is not in 1..65535", n)
		}
		if kind == corev1.ServiceTypeLoadBalancer && s.ExternalLocal {
			s.HealthCheckPort = portNumber(n)
		}
	}
}

func readPorts(in []corev1.ServicePort, kind corev1.ServiceType, c *critic) []Port {
	if len(in) == 0 {
		c.fault("spec.ports", "the service has nothing to serve", "there are no ports")
		return nil
	}
	out := make([]Port, 0, len(in))
	seen := portSet{}
	for i := range in {
		if p, ok := readPort(&in[i], i, len(in) > 1, seen, c); ok {
			p.NodePort = readNodePort(in[i].NodePort, i, p.Protocol, kind, seen, c)
			out = append(out, p)
		}
	}
	return out
}

// portSet has the values that may occur only once among the ports of a service.
type portSet map[portID]bool

type portID struct {
	name     string
	node     bool
	number   uint16
	protocol corev1.Protocol
}

func (s portSet) add(id portID) (isNew bool) {
	isNew = !s[id]
	s[id] = true
	return isNew
}

func readPort(in *corev1.ServicePort, i int, several bool, seen portSet, c *critic) (Port, bool) {
	const omit = "this port is left out"
	p := Port{Name: in.Name, Protocol: cmp.Or(in.Protocol, corev1.ProtocolTCP), Port: portNumber(in.Port)}
	list := "spec.ports"
	switch {
	case p.Port == 0:
		c.fault(at(list, i, "port"), omit, "%d is not in 1..65535", in.Port)
	case !knownProtocol(p.Protocol):
		c.fault(at(list, i, "protocol"), omit, "%q is not TCP, UDP or SCTP", p.Protocol)
	case p.Name == "" && several:
		c.fault(at(list, i, "name"), omit, "a port among several needs a name")
	case p.Name != "" && !goodLabel(p.Name):
		c.fault(at(list, i, "name"), omit, "%q is not a DNS label", p.Name)
	case in.TargetPort.IntVal < 0 || in.TargetPort.IntVal > 65535:
		c.fault(at(list, i, "targetPort"), omit, "%d is not in 1..65535", in.TargetPort.IntVal)
	case !seen.add(portID{number: p.Port, protocol: p.Protocol}):
		c.fault(at(list, i, "port"), omit, "%d/%s occurs twice", p.Port, p.Protocol)
	case p.Name != "" && !seen.add(portID{name: p.Name}):
		c.fault(at(list, i, "name"), omit, "%q occurs twice", p.Name)
	default:
		return p, true
	}
	return Port{}, false
}

func readNodePort(n int32, i int, protocol corev1.Protocol, kind corev1.ServiceType, seen portSet, c *critic) uint16 {
	const omit = "this port has no node port"
	field := func() string { return at("spec.ports", i, "nodePort") }
	number := portNumber(n)
	switch {
	case n == 0:
		if kind == corev1.ServiceTypeNodePort {
			c.fault(field(), omit, "it has no node port, and kube-ipvs allocates none")
		}
	case number == 0:
		c.fault(field(), omit, "%d is not in 1..65535", n)
	case !hasNodePorts(kind):
		c.fault(field(), omit, "a service of type %s has no node ports", kind)
		return 0
	case !seen.add(portID{node: true, number: number, protocol: protocol}):
		c.fault(field(), omit, "%d/%s occurs twice", n, protocol)
		return 0
	}
	return number
}
