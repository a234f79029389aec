package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// World is the cluster that the proxies serve one after another: two nodes with
// pods, a client in their LAN and one behind a router, and a control plane.
type World struct {
	*testbed.Bed
	*testbed.Outside
	Control *cluster.Cluster
	names   map[netip.Addr]string

	mu        sync.Mutex
	endpoints map[netip.AddrPort][]string // names of those that were given to the Service last
}

// nodeDaemon is a port of both nodes where a daemon listens on all addresses.
const nodeDaemon = 2222

func newWorld(ctx context.Context, peers string) (*World, error) {
	bed, err := testbed.New(ctx)
	if err != nil {
		return nil, err
	}
	w := &World{Bed: bed, names: map[netip.Addr]string{}, endpoints: map[netip.AddrPort][]string{}}
	if err := w.furnish(ctx, peers); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *World) furnish(ctx context.Context, peers string) error {
	var err error
	if w.Outside, err = w.AddRouter(ctx); err != nil {
		return err
	}
	for _, h := range []*testbed.Host{w.Node, w.Node2, w.Ext, w.Far, w.Router, w.P1, w.P2, w.C1, w.R1, w.RC} {
		w.names[h.IPv4], w.names[h.IPv6] = h.Name, h.Name
	}
	for _, h := range []*testbed.Host{w.P1, w.P2, w.R1, w.Node, w.Node2} {
		if err := w.listen(h, testbed.TargetPort, h.Name); err != nil {
			return err
		}
	}
	for _, h := range []*testbed.Host{w.Node, w.Node2} {
		if err := w.listen(h, nodeDaemon, "daemon of "+h.Name); err != nil {
			return err
		}
	}
	for i, name := range canaryNames {
		if err := w.listen(w.P1, canaryTarget(i), name); err != nil {
			return err
		}
	}
	// As the network plugin of a real node does: kube-proxy leaves it to that.
	if _, err := w.Node.Shell(ctx, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"); err != nil {
		return err
	}
	if err := w.plainErrors(ctx); err != nil {
		return err
	}
	// As old as the objects that it may have to store: see oddScenarios.
	const lenient = "StrictIPCIDRValidation=false"
	if w.Control, err = cluster.Start(ctx, w.Bed, cluster.Options{Peers: peers, Host: w.Ext, Gates: lenient}); err != nil {
		return err
	}
	if err := w.Control.Nodes(ctx); err != nil {
		return err
	}
	for _, h := range []*testbed.Host{w.Node, w.Node2} {
		if err := w.Control.SetZone(ctx, h, zoneOf(h.Name)); err != nil {
			return err
		}
	}
	return nil
}

// zoneOf returns the zone of a node: each is in one of its own.
func zoneOf(node string) string { return "zone-of-" + node }

// plainErrors lifts the kernel's limits on ICMP errors, which make it a matter of
// chance which client gets one. It cannot lift the one on errors for want of a route,
// so that the router has a rule for packets to the Services' network.
func (w *World) plainErrors(ctx context.Context) error {
	for _, h := range []*testbed.Host{w.Node, w.Node2, w.Router} {
		if err := w.limitErrors(ctx, h, 0); err != nil {
			return err
		}
	}
	if _, err := w.Node.Shell(ctx, "sysctl -qw net.ipv4.icmp_msgs_per_sec=1000000 net.ipv4.icmp_msgs_burst=1000000"); err != nil {
		return err
	}
	_, err := w.Router.Shell(ctx, fmt.Sprintf(`ip route add %[1]s dev eth1; ip -6 route add %[2]s dev eth1
iptables -A FORWARD -d %[1]s -j REJECT --reject-with icmp-net-unreachable
ip6tables -A FORWARD -d %[2]s -j REJECT --reject-with icmp6-no-route`, w.ServiceCIDR4, w.ServiceCIDR6))
	return err
}

// limitErrors lets a host send one ICMP error in so many milliseconds to each client
// at most, after a burst of six; the kernel's default is 1000. It is 0 here, since
// refused clients should see the error, except where the limit is the subject.
func (w *World) limitErrors(ctx context.Context, h *testbed.Host, interval int) error {
	_, err := h.Shell(ctx, fmt.Sprintf("sysctl -qw net.ipv4.icmp_ratelimit=%[1]d net.ipv6.icmp.ratelimit=%[1]d", interval))
	return err
}

func (w *World) listen(h *testbed.Host, port uint16, name string) error {
	if _, err := w.Serve(h, port, name); err != nil {
		return fmt.Errorf("listen on %s: %w", h.Name, err)
	}
	return w.ServeSCTP(h, port, name)
}

func (w *World) close() error {
	var err error
	if w.Control != nil {
		err = w.Control.Close()
	}
	w.Bed.Close()
	return err
}

// serve notes the endpoints that may answer for a Service.
func (w *World) serve(v testbed.Service, backends []testbed.Backend) {
	var names []string
	for _, e := range backends {
		names = append(names, e.Host.Name)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range v.Frontends() {
		w.endpoints[f.V4], w.endpoints[f.V6] = names, names
	}
}

// endpointsOf returns the endpoints that may answer there, or nil if they are not
// known.
func (w *World) endpointsOf(to netip.AddrPort) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.endpoints[to]
}

// sourceName names the address that an endpoint saw, in the words of the report.
func (w *World) sourceName(a Ask, seen netip.Addr) string {
	switch name := w.names[seen]; {
	case seen == a.With.Addr, !a.With.Addr.IsValid() && seen == a.From.IP(seen):
		return "source kept"
	case name != "":
		return "source = " + name
	case seen == a.To.Addr():
		return "source = the VIP"
	}
	return "source = " + seen.String()
}
