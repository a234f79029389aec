package model

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"kube-ipvs/netutil/ipfamily"
)

// Default sets the empty fields of svc that an API server sets and a proxy reads. It keeps set
// fields, allocates no addresses and no node ports, and is idempotent.
func Default(svc *corev1.Service) {
	spec := &svc.Spec
	setEmpty(&spec.Type, corev1.ServiceTypeClusterIP)
	setEmpty(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	if spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		defaultAffinity(spec)
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		setEmpty(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == (intstr.IntOrString{}) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	defaultAddresses(spec)
	setNil(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	if hasNodePorts(spec.Type) || len(spec.ExternalIPs) > 0 {
		setEmpty(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		for i := range svc.Status.LoadBalancer.Ingress {
			if in := &svc.Status.LoadBalancer.Ingress[i]; in.IP != "" {
				setNil(&in.IPMode, corev1.LoadBalancerIPModeVIP)
			}
		}
	}
}

// DefaultSlice sets the empty fields of an EndpointSlice as Default does those of a Service.
func DefaultSlice(es *discoveryv1.EndpointSlice) {
	for i := range es.Ports {
		setNil(&es.Ports[i].Name, "")
		setNil(&es.Ports[i].Protocol, corev1.ProtocolTCP)
	}
}

func defaultAffinity(spec *corev1.ServiceSpec) {
	if spec.SessionAffinityConfig == nil {
		spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{}
	}
	if spec.SessionAffinityConfig.ClientIP == nil {
		spec.SessionAffinityConfig.ClientIP = &corev1.ClientIPConfig{}
	}
	setNil(&spec.SessionAffinityConfig.ClientIP.TimeoutSeconds, corev1.DefaultClientIPServiceAffinitySeconds)
}

// defaultAddresses sets the empty ones of clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy
// to agree with the others.
func defaultAddresses(spec *corev1.ServiceSpec) {
	switch {
	case spec.ClusterIP == "" && len(spec.ClusterIPs) > 0:
		spec.ClusterIP = spec.ClusterIPs[0]
	case spec.ClusterIP != "" && len(spec.ClusterIPs) == 0:
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
	if len(spec.IPFamilies) == 0 {
		for _, ip := range spec.ClusterIPs {
			if a, ok := ParseAddr(ip); ok {
				spec.IPFamilies = append(spec.IPFamilies, familyOf(a))
			}
		}
	}
	policy := corev1.IPFamilyPolicySingleStack
	if len(spec.ClusterIPs) > 1 || len(spec.IPFamilies) > 1 {
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	setNil(&spec.IPFamilyPolicy, policy)
}

func familyOf(a netip.Addr) corev1.IPFamily { return corev1.IPFamily(ipfamily.Of(a).String()) }

func hasNodePorts(t corev1.ServiceType) bool {
	return t == corev1.ServiceTypeNodePort || t == corev1.ServiceTypeLoadBalancer
}

func setEmpty[T ~string](at *T, value T) {
	if *at == "" {
		*at = value
	}
}

func setNil[T any](at **T, value T) {
	if *at == nil {
		*at = &value
	}
}
