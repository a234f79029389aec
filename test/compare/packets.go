package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// packetScenarios are datagrams in fragments, and links that carry less.
func packetScenarios() []Scenario {
	return chapter("Packets",
		Scenario{Name: "datagrams of 30 kB", Play: fragments},
		Scenario{Name: "a link to the client carries 1400 bytes", Play: func(ctx context.Context, s *Scene) error {
			return s.narrow(ctx, s.Router, "eth1", s.Far, 1400, []*testbed.Host{s.Far})
		}},
		Scenario{Name: "a link to the endpoint carries 1300 bytes", Play: func(ctx context.Context, s *Scene) error {
			return s.narrow(ctx, s.Node, "vp1", s.P1, 1300, []*testbed.Host{s.C1, s.RC, s.Node, s.Ext, s.Far})
		}},
	)
}

// echoPort is where UDP is answered by as much.
const echoPort = 8090

// echo has hosts send datagrams back.
func (s *Scene) echo(on ...*testbed.Host) error {
	for _, h := range on {
		var p net.PacketConn
		err := h.Do(func() (err error) {
			p, err = net.ListenPacket("udp", fmt.Sprintf(":%d", echoPort))
			return err
		})
		if err != nil {
			return err
		}
		s.Undo(func(context.Context) error { return p.Close() })
		go sendBack(p)
	}
	return nil
}

// echoing makes a Service whose endpoints return the data of TCP and UDP clients.
func (s *Scene) echoing(ctx context.Context, v testbed.Service, on ...*testbed.Host) (testbed.Service, error) {
	v = s.Number(v)
	s.Undo(func(ctx context.Context) error { return s.Control.Delete(ctx, v.Name) })
	backends := testbed.Backends(on...)
	return v, s.ApplyText(ctx, v.Manifest()+s.Slices(v.Name, "tcp", "TCP", testbed.TargetPort, backends)+s.Slices(v.Name, "udp", "UDP", echoPort, backends))
}

func sendBack(p net.PacketConn) {
	buf := make([]byte, 65536)
	for {
		n, from, err := p.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = p.WriteTo(buf[:n], from)
		}
	}
}

// datagram sends one of a size until it comes back. The first may be lost by a
// busy machine, or to learn how much the way carries.
func datagram(ctx context.Context, a Ask, size, tries int) string {
	var c net.Conn
	err := a.From.Do(func() (err error) {
		c, err = (&net.Dialer{}).DialContext(ctx, "udp", a.To.String())
		return err
	})
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	buf := make([]byte, 65536)
	for range tries {
		_, _ = c.Write(make([]byte, size)) // may tell that an earlier one was too big
		_ = c.SetReadDeadline(time.Now().Add(patience))
		for {
			n, err := c.Read(buf)
			switch timeout := net.Error(nil); {
			case err == nil && n == size:
				return "answered"
			case err == nil:
				continue
			case errors.As(err, &timeout) && timeout.Timeout():
			default: // an error of ICMP, such as that the datagram was too big
			}
			break
		}
	}
	return "lost"
}

// bulk sends much by TCP, has it sent back, and says whether all came.
func bulk(ctx context.Context, a Ask) string {
	const much = 1 << 18
	c, err := a.From.DialContext(ctx, "tcp", a.To.String())
	if err != nil {
		return testbed.Outcome(testbed.Answer{}, err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(4 * patience))
	go func() { _, _ = c.Write(make([]byte, much)) }()
	if _, err := io.CopyN(io.Discard, c, much); err != nil {
		return "stalled"
	}
	return "all comes back"
}

func fragments(ctx context.Context, s *Scene) error {
	if err := s.echo(s.P1, s.R1); err != nil {
		return err
	}
	v, err := s.echoing(ctx, testbed.Service{Name: "web", Type: "LoadBalancer"}, s.P1, s.R1)
	if err != nil {
		return err
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	asks := append(crossing([]*testbed.Host{s.C1, s.Node, s.Ext, s.Far}, v.Outside(), "udp"), crossing([]*testbed.Host{s.C1, s.Node, s.Ext}, []testbed.Frontend{v.ClusterIP()}, "udp")...)
	s.each(asks, func(a Ask) string { return datagram(ctx, a, 30000, 3) })
	return nil
}

// each records the results of f for the requests.
func (s *Scene) each(asks []Ask, f func(a Ask) string) {
	out := make([]string, len(asks))
	_ = cluster.Each(len(asks), func(i int) error {
		out[i] = f(asks[i])
		return nil
	})
	for i, a := range asks {
		s.Record(a.String(), out[i])
	}
}

// narrow has the last link to a host carry less than the rest of the way, and
// the host not say so when it connects: others learn it from ICMP errors alone.
func (s *Scene) narrow(ctx context.Context, before *testbed.Host, link string, host *testbed.Host, mtu int, clients []*testbed.Host) error {
	both := func(carries int, more string) string {
		gateway4, gateway6 := "192.168.60.1", "fd60::1"
		if host == s.P1 {
			gateway4, gateway6 = "169.254.1.1", "fe80::1"
		}
		return fmt.Sprintf("ip link set eth0 mtu %d; ip route replace default via %s dev eth0%s; ip -6 route replace default via %s dev eth0%s", carries, gateway4, more, gateway6, more)
	}
	if err := s.Shell(ctx, before, fmt.Sprintf("ip link set %s mtu %d", link, mtu), fmt.Sprintf("ip link set %s mtu 1500", link)); err != nil {
		return err
	}
	if err := s.Shell(ctx, host, both(mtu, " advmss 1440"), both(1500, "")); err != nil {
		return err
	}
	for _, h := range []*testbed.Host{s.P1, s.R1, s.C1, s.RC, s.Node, s.Node2, s.Ext, s.Far} {
		if err := s.Shell(ctx, h, "", "ip route flush cache; ip -6 route flush cache"); err != nil {
			return err
		}
	}
	if err := s.echo(s.P1); err != nil {
		return err
	}
	var asks []Ask
	for _, policy := range []string{"Cluster", "Local"} {
		v := testbed.Service{Name: "web", Type: "LoadBalancer", Spec: []string{"externalTrafficPolicy: " + policy}}
		v, err := s.echoing(ctx, v, s.P1)
		if err != nil {
			return err
		}
		for _, f := range v.Frontends() {
			f.Name += ", externalTrafficPolicy " + policy
			for _, h := range clients {
				switch {
				case f.V4 == v.ClusterIP().V4 && (h == s.Far || policy == "Local"): // no route; nothing new
				case f.V4 == v.NodePort().V4 && h == s.Node: // lo tells iptables mode's clients that much fits
				default:
					asks = append(asks, everyWay(h, f, "tcp", "udp")...)
				}
			}
		}
	}
	if err := s.Programmed(ctx); err != nil {
		return err
	}
	s.each(asks, func(a Ask) string {
		if a.Network == "tcp" {
			return bulk(ctx, a)
		}
		return datagram(ctx, a, 1450, 6)
	})
	return nil
}
