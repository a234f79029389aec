package model

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

func readExternalIPs(in []string, s *Service, c *critic) []netip.Addr {
	var out distinct[netip.Addr]
	for i, text := range in {
		addExternal(&out, text, s, c, func() string { return at("spec.externalIPs", i, "") })
	}
	return out.all
}

// addExternal adds an external address if it can be served. It ignores a repeated address, and
// without a fault one of a family that the service does not have: a load balancer of both
// families gives a service of one family an address of the other.
func addExternal(out *distinct[netip.Addr], text string, s *Service, c *critic, field func() string) {
	a, why := parseAddr(text)
	switch {
	case why != "":
		c.fault(field(), omitAddr, "%s", why)
	case s.Serves(a):
		out.add(a)
	}
}

// distinct is a list without duplicates. It may be long, since an object of the API has room
// for 100,000 addresses.
type distinct[T comparable] struct {
	all  []T
	seen map[T]bool // all elements, once there are many
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

// readLoadBalancer reads the addresses of a load balancer and its source ranges.
func readLoadBalancer(svc *corev1.Service, kind corev1.ServiceType, s *Service, c *critic) {
	const field = "spec.loadBalancerSourceRanges"
	ranges := svc.Spec.LoadBalancerSourceRanges // not the old annotation, which is for cloud providers: kube-proxy does not read it
	if kind != corev1.ServiceTypeLoadBalancer {
		if len(ranges) > 0 {
			c.fault(field, "it is ignored", "only a service of type LoadBalancer has source ranges")
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
	var allowed []netip.Prefix
	for i, text := range ranges {
		p, why := parseRange(text)
		if why != "" {
			c.fault(at(field, i, ""), "this range is left out", "%s", why)
		} else {
			allowed = append(allowed, p)
		}
	}
	s.SourceRanges = outermost(allowed)
	// Without ranges all clients could connect, which the author did not want.
	if len(ranges) > 0 && len(s.SourceRanges) == 0 {
		c.fault(field, "the load balancer addresses are left out", "no usable range is left")
		s.LoadBalancerIPs = nil
	}
}
