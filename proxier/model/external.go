package model

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

func readExternalIPs(in []string, s *Service, c *critic) []netip.Addr {
	var out distinct[netip.Addr]
	for i, text := range in {
		addExternal(&out, text, s, c, func() string { return at("spec.externalIPs", i, "") })
	}
	return out.all
}

// addExternal adds an address from outside if it can be served. To name the
// same address twice is legal and has no effect. So is, without a word, one of a
// family that the service does not have: a load balancer of both families gives
// every service of one family an address of the other.
func addExternal(out *distinct[netip.Addr], text string, s *Service, c *critic, field func() string) {
	a, why := parseAddr(text)
	switch {
	case why != "":
		c.fault(field(), omitAddr, "%s", why)
	case s.Serves(a):
		out.add(a)
	}
}

// distinct is a list without duplicates. A tenant may make it long: an object of
// the API has room for 100,000 addresses.
type distinct[T comparable] struct {
	all  []T
	seen map[T]bool // all, once they are many
}

func (d *distinct[T]) add(t T) {
	const few = 16
	switch {
	case len(d.all) < few:
		if slices.Contains(d.all, t) {
			return
		}
	case d.seen == nil:
		d.seen = make(map[T]bool, 2*few)
		for _, old := range d.all {
			d.seen[old] = true
		}
		fallthrough
	default:
		if d.seen[t] {
			return
		}
		d.seen[t] = true
	}
	d.all = append(d.all, t)
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
	var ips distinct[netip.Addr]
	for i, in := range svc.Status.LoadBalancer.Ingress {
		switch {
		case in.IP == "" || in.IPMode != nil && *in.IPMode == corev1.LoadBalancerIPModeProxy:
		case in.IPMode != nil && *in.IPMode != corev1.LoadBalancerIPModeVIP:
			c.fault(at("status.loadBalancer.ingress", i, "ipMode"), omitAddr, "%q is neither VIP nor Proxy", *in.IPMode)
		default:
			addExternal(&ips, in.IP, s, c, func() string { return at("status.loadBalancer.ingress", i, "ip") })
		}
	}
	s.LoadBalancerIPs = ips.all
	var allowed distinct[netip.Prefix]
	for i, text := range ranges {
		p, why := parseRange(text)
		if why != "" {
			c.fault(field(i), "this range is left out", "%s", why)
		} else {
			allowed.add(p)
		}
	}
	s.SourceRanges = allowed.all
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
