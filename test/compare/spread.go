package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"kube-ipvs/test/lib/testbed"
)

// spreadScenarios are how evenly requests are spread over endpoints.
func spreadScenarios() []Scenario {
	return chapter("Distribution",
		Scenario{Name: "ten endpoints", Play: spreadOverTen},
	)
}

const (
	// spreadPort is the first of the ports that stand for so many endpoints: a pod
	// for each would cost time and show nothing more.
	spreadPort, spreadEndpoints = 9100, 10
	// evenWithin is so wide, for so many requests, that an endpoint chosen by
	// chance is outside it once in ten million times: five standard deviations.
	spreadRequests, evenWithin = 1500, 40
)

func spreadOverTen(ctx context.Context, s *Scene) error {
	for i := range spreadEndpoints {
		stop, err := s.Serve(s.P1, spreadPort+uint16(i), fmt.Sprintf("endpoint %d", i))
		if err != nil {
			return err
		}
		s.Undo(func(context.Context) error { stop(); return nil })
	}
	v := s.Number(testbed.Service{Name: "web", Type: "LoadBalancer"})
	if err := s.Apply(ctx, v); err != nil {
		return err
	}
	pod, outside := everyWay(s.C1, v.ClusterIP(), "udp")[0], everyWay(s.Ext, v.LoadBalancer(), "udp")[1]
	steps := []struct {
		when      string
		endpoints int
		asks      []Ask
	}{
		{"of ten", 10, []Ask{pod, outside}}, {"of nine that are left", 9, []Ask{pod}}, {"of ten again", 10, []Ask{outside}},
	}
	for _, step := range steps {
		if err := s.spreadOver(ctx, v, step.endpoints); err != nil {
			return err
		}
		for _, a := range step.asks {
			s.Record(step.when+": "+a.String(), s.spread(ctx, a, step.endpoints))
		}
	}
	if err := s.Proxy.Restart(ctx, s.World, s.Node); err != nil {
		return err
	}
	s.Record("after a restart of the proxy: "+pod.String(), s.spread(ctx, pod, spreadEndpoints))
	return nil
}

// spreadOver gives a Service its first endpoints, each by EndpointSlices of its own.
func (s *Scene) spreadOver(ctx context.Context, v testbed.Service, endpoints int) error {
	text := ""
	for i := range spreadEndpoints {
		backends := testbed.Backends(s.P1)
		if i >= endpoints {
			backends[0].State = "unready"
		}
		for _, network := range []string{"tcp", "udp"} {
			text += s.slice(v.Name, i, network, backends)
		}
	}
	if err := s.ApplyText(ctx, text); err != nil {
		return err
	}
	return s.Programmed(ctx)
}

// spread makes many requests, and says how evenly the endpoints have answered.
func (s *Scene) spread(ctx context.Context, a Ask, endpoints int) string {
	// A client's port that was used before would go where it went.
	if _, err := s.Node.Shell(ctx, fmt.Sprintf("conntrack -D -d %s 2>&1 || true", a.To.Addr())); err != nil {
		return err.Error()
	}
	counts, lost := map[string]int{}, 0
	err := a.From.Do(func() error {
		for range spreadRequests {
			name, err := datagramName(a.To)
			switch {
			case errors.Is(err, unix.EAGAIN):
				lost++
			case err != nil:
				return err
			default:
				counts[name]++
			}
		}
		return nil
	})
	fair, uneven := spreadRequests/endpoints, false
	for _, n := range counts {
		off := (n - fair) * 100
		uneven = uneven || off > fair*evenWithin || off < -fair*evenWithin
	}
	switch {
	case err != nil:
		return err.Error()
	case lost > spreadRequests/100: // a busy machine loses one now and then
		return "some fail"
	case len(counts) != endpoints:
		return fmt.Sprintf("%d of %d endpoints answer", len(counts), endpoints)
	case uneven:
		return "uneven"
	}
	return fmt.Sprintf("even within %d %%", evenWithin)
}

// datagramName returns the name of the endpoint that answers a new socket, with as
// little work as possible, since it is called thousands of times.
func datagramName(to netip.AddrPort) (string, error) {
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if to.Addr().Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, 256)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 500_000}); err != nil {
		return "", err
	}
	if err := unix.Connect(fd, address); err != nil {
		return "", err
	}
	if _, err := unix.Write(fd, []byte("ping\n")); err != nil {
		return "", err
	}
	n, err := unix.Read(fd, buf)
	if err != nil {
		return "", err
	}
	text := string(buf[:n]) // name and peer
	return text[:max(0, strings.LastIndexByte(text, ' '))], nil
}

// slice returns the EndpointSlices, one a family, of one of the ports.
func (s *Scene) slice(service string, i int, network string, backends []testbed.Backend) string {
	text := s.Slices(service, network, strings.ToUpper(network), spreadPort+i, backends)
	return strings.ReplaceAll(text, "{name: "+service+"-ip", fmt.Sprintf("{name: %s-%d-ip", service, i))
}
