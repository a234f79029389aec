package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// Flows reads and deletes conntrack entries while the Kernel's goroutine writes. A search takes the
// longer the more entries the node has, of any program: up to seconds.
type Flows interface {
	// Delete deletes the flows of a family for which doomed is true, and returns their
	// number. It may skip flows that are not to one of the frontends to; if to is
	// empty it looks at all. It calls doomed again right before the deletion, and deletes
	// a flow only if it is still the same one. Idempotent: no such flow is no error. After
	// an error some may be left.
	Delete(ctx context.Context, family state.Family, to []state.ID, doomed func(Flow) bool) (int, error)
	// Unanswered calls note with each TCP connection of a family that has begun and to which
	// no packet has come back: its endpoint, and a number that no other connection has.
	Unanswered(ctx context.Context, family state.Family, note func(endpoint netip.AddrPort, number uint32)) error
	Close() error
}

// Flow is the conntrack entry of a flow.
type Flow struct {
	Proto    state.Protocol
	To       netip.AddrPort // the address that the client dialled
	By       netip.AddrPort // the address that answers: the endpoint, or To without NAT
	Answered bool           // a packet has come back
	Node     bool           // To is an address of the node that serves node ports, and no VIP
}

// Flows is part of Kernel.
func (l *Linux) Flows(context.Context) (Flows, error) {
	c, err := netutil.OpenConntrack()
	if err != nil {
		return nil, fmt.Errorf("open conntrack: %w", err)
	}
	links, err := netutil.OpenLinks()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open links: %w", err), c.Close())
	}
	return &linuxFlows{c, links, l.options.Relays}, nil
}

type linuxFlows struct {
	conntrack *netutil.Conntrack
	links     *netutil.Links
	relays    []netip.Addr
}

// Close is part of Flows.
func (f *linuxFlows) Close() error { return errors.Join(f.conntrack.Close(), f.links.Close()) }

// Delete is part of Flows.
func (f *linuxFlows) Delete(ctx context.Context, family state.Family, to []state.ID, doomed func(Flow) bool) (int, error) {
	node, err := f.node()
	if err != nil {
		return 0, err
	}
	var dialled []netutil.Dialled
	for _, id := range to {
		d := netutil.Dialled{Proto: uint8(id.Proto), To: id.AddrPort()}
		if id.Network().IsValid() {
			d.To = netip.AddrPortFrom(id.Family().Unspecified(), id.Port)
		}
		dialled = append(dialled, d)
	}
	n, err := f.conntrack.Delete(ctx, family, dialled, func(e netutil.Flow) bool {
		if slices.Contains(f.relays, e.Endpoint.Addr()) {
			return false // a flow to the relay, which dials the Service by a flow of its own
		}
		return doomed(Flow{Proto: state.Protocol(e.Proto), To: e.Dst, By: e.Endpoint, Answered: !e.Unreplied, Node: node[e.Dst.Addr()]})
	})
	if err != nil {
		err = fmt.Errorf("delete conntrack entries of %s: %w", family, err)
	}
	return n, err
}

// Unanswered is part of Flows.
func (f *linuxFlows) Unanswered(ctx context.Context, family state.Family, note func(netip.AddrPort, uint32)) error {
	if err := f.conntrack.EachUnreplied(ctx, family, note); err != nil {
		return fmt.Errorf("read conntrack entries of %s: %w", family, err)
	}
	return nil
}

// node returns the addresses at which the rules serve node ports: those of the node without
// VIPs, and loopback addresses only if there is a relay.
func (f *linuxFlows) node() (map[netip.Addr]bool, error) {
	vips, _, exists, err := f.links.FindDummy(LinkName)
	if err != nil {
		return nil, err
	}
	addrs, err := f.links.Addresses()
	if err != nil {
		return nil, fmt.Errorf("read the node's addresses: %w", err)
	}
	out := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		ip := a.Prefix.Addr()
		relayed := slices.ContainsFunc(f.relays, func(r netip.Addr) bool { return r.Is4() == ip.Is4() })
		out[ip] = (relayed || !ip.IsLoopback()) && !ip.IsLinkLocalUnicast() && !(exists && a.Link == vips)
	}
	return out, nil
}
