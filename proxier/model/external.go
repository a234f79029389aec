package model

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

func readExternalIPs(in []string, s *Service, c *critic) []netip.Addr {
	var out []netip.Addr
	for i, text := range in {
		out = addExternal(out, text, at("spec.externalIPs", i, ""), s, c)
	}
	return out
}

// addExternal adds an address from outside if it can be served. To name the
// same address twice is legal and has no effect.
func addExternal(out []netip.Addr, text, field string, s *Service, c *critic) []netip.Addr {
	a, why := parseAddr(text)
	switch {
	case why != "":
		c.fault(field, omitAddr, "%s", why)
	case !s.Serves(a):
		c.note(field, omitAddr, "%s is %s, and the service has no such cluster IP", a, familyOf(a))
	case !slices.Contains(out, a):
		return append(out, a)
	}
	return out
}

// readLoadBalancer reads the addresses of a load balancer and who may use them.
func readLoadBalancer(svc *corev1.Service, kind corev1.ServiceType, s *Service, c *critic) {
	ranges, field := givenRanges(svc)
	if kind != corev1.ServiceTypeLoadBalancer {
		if len(ranges) > 0 {
			c.fault(field(-1), "it is ignored", "only a service of type LoadBalancer has source ranges")
		}
		if len(svc.Status.LoadBalancer.Ingress) > 0 {
			c.fault("status.loadBalancer.ingress", "it is ignored", "only a service of type LoadBalancer has it")
		}
		return
	}
	for i, in := range svc.Status.LoadBalancer.Ingress {
		switch {
		case in.IP == "" || in.IPMode != nil && *in.IPMode == corev1.LoadBalancerIPModeProxy:
		case in.IPMode != nil && *in.IPMode != corev1.LoadBalancerIPModeVIP:
			c.fault(at("status.loadBalancer.ingress", i, "ipMode"), omitAddr, "%q is neither VIP nor Proxy", *in.IPMode)
		default:
			s.LoadBalancerIPs = addExternal(s.LoadBalancerIPs, in.IP, at("status.loadBalancer.ingress", i, "ip"), s, c)
		}
	}
	for i, text := range ranges {
		p, why := parseRange(text)
		if why != "" {
			c.fault(field(i), "this range is left out", "%s", why)
		} else if !slices.Contains(s.SourceRanges, p) {
			s.SourceRanges = append(s.SourceRanges, p)
		}
	}
	// Without ranges everybody would be let in, which is not what was asked for.
	if len(ranges) > 0 && len(s.SourceRanges) == 0 {
		c.fault(field(-1), "the load balancer addresses are left out", "no usable range is left")
		s.LoadBalancerIPs = nil
	}
}

// givenRanges returns the source ranges as written and the field of entry i;
// -1 stands for the whole list.
func givenRanges(svc *corev1.Service) (ranges []string, field func(i int) string) {
	if len(svc.Spec.LoadBalancerSourceRanges) > 0 {
		return svc.Spec.LoadBalancerSourceRanges, func(i int) string {
			if i < 0 {
				return "spec.loadBalancerSourceRanges"
			}
			return at("spec.loadBalancerSourceRanges", i, "")
		}
	}
	field = func(int) string {
		return "metadata.annotations[" + corev1.AnnotationLoadBalancerSourceRangesKey + "]"
	}
	text := strings.TrimSpace(svc.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey])
	if text == "" {
		return nil, field
	}
	return strings.Split(text, ","), field
}
