package main

import (
	"errors"
	"net/netip"

	"kube-ipvs/test/lib/testbed"
)

// crossing returns requests of clients to frontends, over networks and both families.
func crossing(from []*testbed.Host, to []testbed.Frontend, networks ...string) []Ask {
	var out []Ask
	for _, f := range to {
		for _, h := range from {
			out = append(out, everyWay(h, f, networks...)...)
		}
	}
	return out
}

// port returns a frontend by another port, and says whose port it is.
func port(f testbed.Frontend, number uint16, whose string) testbed.Frontend {
	return testbed.Frontend{
		Name: f.Name + ", " + whose,
		V4:   netip.AddrPortFrom(f.V4.Addr(), number), V6: netip.AddrPortFrom(f.V6.Addr(), number),
	}
}

// vips returns the frontends of a Service that are addresses of its own.
func vips(v testbed.Service) []testbed.Frontend {
	return []testbed.Frontend{v.ClusterIP(), v.LoadBalancer(), v.ExternalIP()}
}

func (s *Scene) pods() []*testbed.Host  { return []*testbed.Host{s.C1, s.RC} }
func (s *Scene) nodes() []*testbed.Host { return []*testbed.Host{s.Node, s.Node2} }

// inside are clients of the cluster, by way of either node.
func (s *Scene) inside() []*testbed.Host { return append(s.pods(), s.nodes()...) }

// clients are those of all sorts.
func (s *Scene) clients() []*testbed.Host { return append(s.inside(), s.Ext, s.Far) }

var errNotYet = errors.New("not yet")
