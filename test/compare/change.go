package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// changeScenarios are changes of Services that clients use all the time.
func changeScenarios() []Scenario {
	return chapter("Changes under traffic", append(together(
		Scenario{Name: "type changed to and fro", Play: retyped},
		Scenario{Name: "port changed", Play: renumbered},
		Scenario{Name: "node port changed", Play: nodePortRenumbered},
		Scenario{Name: "ClusterIP given to another Service", Play: inherited},
		Scenario{Name: "all endpoints replaced at once", Play: swapped},
		Scenario{Name: "external IP moved to another Service", Play: movedExternal},
		Scenario{Name: "named port with another number in each pod", Play: twoNumbers},
	), Scenario{Name: "node address added and removed", Play: newAddress})...)
}

// retyped changes the type, and asks where the Service was, is and will be.
func retyped(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "typed"})
	full := v
	full.Type = "LoadBalancer"
	if err := s.put(ctx, v, s.P1); err != nil {
		return err
	}
	l := s.press(ctx, append(everyWay(s.C1, v.ClusterIP(), "tcp", "udp"), everyWay(s.Node, v.ClusterIP(), "tcp", "udp")...)...)
	defer l.end()
	l.hold(append(everyWay(s.C1, v.ClusterIP(), "tcp"), everyWay(s.Node, v.ClusterIP(), "tcp")...)...)
	for i, kind := range []string{"NodePort", "LoadBalancer", "NodePort", "LoadBalancer", "ClusterIP"} {
		v.Type = kind
		if err := s.put(ctx, v, s.P1); err != nil {
			return err
		}
		var asks []Ask
		for _, f := range full.Outside() {
			asks = append(asks, everyWay(s.Ext, f, "tcp")...)
			asks = append(asks, everyWay(s.C1, f, "tcp")...)
		}
		s.reach(ctx, fmt.Sprintf("%d. %s", 1+i, kind), asks...)
	}
	return l.halt(ctx)
}

func renumbered(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "ported", Type: "LoadBalancer"})
	if err := s.put(ctx, v, s.P1); err != nil {
		return err
	}
	old := v
	// The node port keeps its number.
	same := everyWay(s.Ext, v.NodePort(), "tcp", "udp")
	l := s.press(ctx, same...)
	defer l.end()
	l.hold(append(everyWay(s.Ext, v.NodePort(), "tcp"), everyWay(s.Ext, v.LoadBalancer(), "tcp")...)...)
	l.hold(append(everyWay(s.C1, v.ClusterIP(), "tcp"), everyWay(s.Node, v.ClusterIP(), "tcp")...)...)
	v.Port = 81
	if err := s.put(ctx, v, s.P1); err != nil {
		return err
	}
	s.Ask(ctx, "new port", s.sides(v, "tcp", "udp")...)
	s.reach(ctx, "old port", everyWay(s.C1, old.ClusterIP(), "tcp")...)
	s.reach(ctx, "old port", everyWay(s.Node, old.ClusterIP(), "tcp")...)
	s.reach(ctx, "old port", everyWay(s.Ext, old.LoadBalancer(), "tcp")...)
	return l.halt(ctx)
}

// nodePortRenumbered changes the node port, and back.
func nodePortRenumbered(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "node-ported", Type: "LoadBalancer"})
	if err := s.put(ctx, v, s.P1); err != nil {
		return err
	}
	l := s.press(ctx, append(everyWay(s.C1, v.ClusterIP(), "tcp", "udp"), everyWay(s.Ext, v.LoadBalancer(), "tcp", "udp")...)...)
	defer l.end()
	old := v.NodePort()
	fresh := old
	const further = 1000
	fresh.V4, fresh.V6 = netip.AddrPortFrom(old.V4.Addr(), old.V4.Port()+further), netip.AddrPortFrom(old.V6.Addr(), old.V6.Port()+further)
	number := func(f testbed.Frontend) string { return fmt.Sprintf("nodePort: %d}", f.V4.Port()) }
	l.hold(everyWay(s.Ext, old, "tcp")...)
	changed := strings.ReplaceAll(s.With(v, testbed.Backends(s.P1)), number(old), number(fresh))
	if err := s.ApplyText(ctx, changed); err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	s.Ask(ctx, "new node port", everyWay(s.Ext, fresh, "tcp", "udp")...)
	s.reach(ctx, "old node port", everyWay(s.Ext, old, "tcp", "udp")...)
	if err := s.put(ctx, v, s.P1); err != nil {
		return err
	}
	s.Ask(ctx, "old node port again", everyWay(s.Ext, old, "tcp", "udp")...)
	return l.halt(ctx)
}

// inherited deletes a Service, and at once makes another one with its addresses.
func inherited(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "late", Type: "LoadBalancer"})
	if err := s.put(ctx, v, s.P1); err != nil {
		return err
	}
	held := s.hold(ctx, s.sides(v, "tcp")...)
	streams, err := s.streams(ctx, s.sides(v, "udp")...)
	if err != nil {
		return err
	}
	s.moved(ctx, "before", streams, "p1")
	heir := v
	heir.Name = "heir-of-" + v.Name
	if err := s.Control.Delete(ctx, v.Name); err != nil {
		return err
	}
	if err := s.put(ctx, heir, s.P2); err != nil {
		return err
	}
	s.Ask(ctx, "new connections", s.sides(heir, "tcp")...)
	s.moved(ctx, "datagrams from the same port", streams, "p2")
	s.goOn("open connection", held)
	return nil
}

// swapped replaces all endpoints at once, to and fro.
func swapped(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "swapped", Type: "LoadBalancer"})
	if err := s.put(ctx, v, s.P1); err != nil {
		return err
	}
	// TCP: a datagram that is answered while its endpoint goes is lost by chance.
	asks := s.sides(v, "tcp")
	l := s.press(ctx, asks...)
	defer l.end()
	l.hold(s.sides(v, "tcp")...)
	for _, to := range [][]*testbed.Host{{s.P2, s.R1}, {s.P1}, {s.R1}} {
		if err := s.put(ctx, v, to...); err != nil {
			return err
		}
		if err := l.more(ctx, 2); err != nil {
			return err
		}
	}
	s.Ask(ctx, "at last", asks...)
	return l.halt(ctx)
}

// movedExternal moves an external IP between two Services that have the same port.
func movedExternal(ctx context.Context, s *Scene) error {
	a, b := s.Number(testbed.Service{Name: "giver"}), s.Number(testbed.Service{Name: "taker"})
	external := a.ExternalIP()
	with := func(v testbed.Service) testbed.Service {
		v.Spec = []string{fmt.Sprintf("externalIPs: [%q, %q]", external.V4.Addr(), external.V6.Addr())}
		return v
	}
	asks := append(everyWay(s.Ext, external, "tcp", "udp"), everyWay(s.C1, external, "tcp")...)
	apply := func(steps ...func() error) error {
		for _, step := range steps {
			if err := step(); err != nil {
				return err
			}
		}
		return s.Programmed(ctx)
	}
	give := func(v testbed.Service, h *testbed.Host) func() error {
		return func() error { return s.Apply(ctx, v, testbed.Backends(h)...) }
	}
	if err := apply(give(with(a), s.P1), give(b, s.P2)); err != nil {
		return err
	}
	s.Ask(ctx, "at first", asks...)
	held := s.hold(ctx, append(everyWay(s.Ext, external, "tcp"), everyWay(s.C1, external, "tcp")...)...)
	if err := apply(give(a, s.P1), give(with(b), s.P2)); err != nil {
		return err
	}
	s.Ask(ctx, "given and then taken", asks...)
	if err := apply(give(with(a), s.P1), give(b, s.P2)); err != nil {
		return err
	}
	s.Ask(ctx, "taken back before it was given", asks...)
	s.goOn("open connection", held)
	return nil
}

// newAddress gives the node one more address, and takes it away.
func newAddress(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "addressed", Type: "NodePort"})
	if err := s.put(ctx, v, s.P1); err != nil {
		return err
	}
	const v4, v6 = "192.168.50.77", "fd50::77"
	const remove = "ip addr del " + v4 + "/24 dev eth0 || true; ip -6 addr del " + v6 + "/64 dev eth0 || true"
	if err := s.Shell(ctx, s.Node, "ip addr add "+v4+"/24 dev eth0; ip -6 addr add "+v6+"/64 dev eth0 nodad preferred_lft 0", remove); err != nil {
		return err
	}
	at := v.NodePort()
	at.Name = "node port at the new address"
	at.V4, at.V6 = netip.AddrPortFrom(netip.MustParseAddr(v4), at.V4.Port()), netip.AddrPortFrom(netip.MustParseAddr(v6), at.V6.Port())
	asks := append(everyWay(s.Ext, at, "tcp", "udp"), everyWay(s.C1, at, "tcp")...)
	for _, a := range asks {
		s.Record("added: "+a.String(), answersWithin(ctx, a, 5*time.Second))
	}
	if _, err := s.Node.Shell(ctx, remove); err != nil {
		return err
	}
	s.reach(ctx, "removed", asks...)
	s.Ask(ctx, "afterwards", append(everyWay(s.Ext, v.NodePort(), "tcp", "udp"), everyWay(s.C1, v.NodePort(), "tcp")...)...)
	return nil
}

// answersWithin says whether there is an answer within a time, for which it asks
// again and again.
func answersWithin(ctx context.Context, a Ask, limit time.Duration) string {
	a.With.Patience = time.Second
	err := testbed.Await(ctx, limit, func() error {
		_, err := a.From.Ask(ctx, a.Network, a.To, a.With)
		return err
	})
	switch {
	case err == nil:
		return fmt.Sprintf("answers within %s", limit)
	case ctx.Err() != nil:
		return ctx.Err().Error()
	}
	return "does not answer"
}

// twoNumbers has a port that each of two pods has another number for.
func twoNumbers(ctx context.Context, s *Scene) error {
	const other = 8181
	stop, err := s.Serve(s.R1, other, "r1 at its own port")
	if err != nil {
		return err
	}
	s.Undo(func(context.Context) error { stop(); return nil })
	v := s.Number(testbed.Service{Name: "named", Type: "LoadBalancer", Protocols: []string{"TCP"}})
	slices := func(ports map[*testbed.Host]int) string {
		out := ""
		for _, h := range []*testbed.Host{s.P1, s.R1} {
			text := s.Slices(v.Name, "tcp", "TCP", ports[h], testbed.Backends(h))
			out += strings.ReplaceAll(text, "metadata: {name: ", "metadata: {name: "+h.Name+"-")
		}
		return out
	}
	s.Undo(func(ctx context.Context) error { return s.Control.Delete(ctx, v.Name) })
	for _, step := range []struct {
		label string
		ports map[*testbed.Host]int
	}{
		{"at first", map[*testbed.Host]int{s.P1: testbed.TargetPort, s.R1: other}},
		{"one number changed", map[*testbed.Host]int{s.P1: testbed.TargetPort, s.R1: testbed.TargetPort}},
	} {
		if err := s.ApplyText(ctx, v.Manifest()+slices(step.ports)); err != nil {
			return err
		}
		if err := s.Programmed(ctx); err != nil {
			return err
		}
		for _, a := range s.sides(v, "tcp") {
			s.Record(step.label+": "+a.String(), s.everyone(ctx, a))
		}
	}
	return nil
}

// everyone asks often enough to see all endpoints that answer.
func (s *Scene) everyone(ctx context.Context, a Ask) string {
	seen := sightings{}
	s.several(ctx, a, enough, seen)
	return seen.String()
}
