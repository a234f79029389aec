package main

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/node"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
)

// conntrack measures a change that needs a search through a large conntrack: the time
// of the round, and the work beside it.
func conntrack(ctx context.Context, b *bench) error {
	many := 262_144 // the most that a node with eight CPUs tracks
	if b.small {
		many = 10_000
	}
	if err := netutil.WriteSysctl("net/netfilter/nf_conntrack_max", strconv.Itoa(2*many)); err != nil {
		return err
	}
	for _, family := range []string{"IPv4", "IPv6"} {
		if err := b.alone(ctx, "flows, "+family, size{many, 0}); err != nil {
			return err
		}
	}
	return nil
}

func flows4(ctx context.Context, b *bench, s size) error { return flows(ctx, b, s, false) }
func flows6(ctx context.Context, b *bench, s size) error { return flows(ctx, b, s, true) }

// flows does so with the rights that the daemon keeps, and no others.
func flows(ctx context.Context, b *bench, s size, six bool) error {
	family, at := "IPv4", address4
	if six {
		family, at = "IPv6", address6
	}
	if err := fillConntrack(ctx, s.services, at); err != nil {
		return err
	}
	k, err := kernel.OpenLinux(ctx, kernelOptions())
	if err != nil {
		return err
	}
	defer k.Close()
	if _, err := k.Check(ctx, kernel.Needs{Scheduler: "rr"}); err != nil {
		return err
	}
	if _, err := node.DropCapabilities(); err != nil {
		return err
	}
	sweeps := make(chan *report.Sweep, 1024)
	l := startLoop(ctx, k, append(publishing(at, 0, corev1.ProtocolTCP, 1), publishing(at, 1, corev1.ProtocolUDP, 100)...), func(s *report.Sweep) { sweeps <- s })
	defer l.stop()
	if _, err := l.next(ctx); err != nil {
		return err
	}
	if _, err := quietly(ctx, sweeps); err != nil {
		return err
	}
	const runs = 5
	for _, change := range []struct {
		what   string
		events func(i int) []source.Event
	}{
		{"a TCP frontend published", func(i int) []source.Event { return publishing(at, 2+i, corev1.ProtocolTCP, 1) }},
		{"an endpoint of a UDP Service gone", func(i int) []source.Event { return publishing(at, 1, corev1.ProtocolUDP, 99-i) }},
	} {
		round := b.of("conntrack: "+change.what+", the round, "+family, ours, s, "ms")
		beside := b.of("conntrack: "+change.what+", beside it, "+family, ours, s, "ms")
		round.Note = "the number is that of flows in the table"
		cpu, deleted := 0.0, 0
		for i := range runs {
			before, err := cpuTime()
			if err != nil {
				return err
			}
			l.Events(change.events(i))
			r, err := l.next(ctx)
			if err != nil {
				return err
			}
			done, err := quietly(ctx, sweeps)
			if err != nil {
				return err
			}
			after, err := cpuTime()
			if err != nil {
				return err
			}
			round.Samples, beside.Samples = append(round.Samples, ms(r.Took)), append(beside.Samples, ms(done.Took))
			cpu, deleted = cpu+ms(after-before), deleted+done.Deleted
		}
		beside.Counts = map[string]float64{"CPU ms": cpu / runs, "deleted": float64(deleted) / runs}
	}
	return nil
}

// quietly waits until nothing is left to look through and returns the sum.
func quietly(ctx context.Context, sweeps <-chan *report.Sweep) (report.Sweep, error) {
	var sum report.Sweep
	for {
		select {
		case <-ctx.Done():
			return sum, ctx.Err()
		case s := <-sweeps:
			sum.Took, sum.Deleted = sum.Took+s.Took, sum.Deleted+s.Deleted
			if s.Err != nil || s.Flows.Waiting == 0 {
				return sum, s.Err
			}
		}
	}
}

func cpuTime() (time.Duration, error) {
	var u unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

// address4 returns an address of a kind: client, VIP, endpoint.
func address4(kind byte, i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, kind + byte(i>>16), byte(i >> 8), byte(i)})
}

func address6(kind byte, i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 1: kind, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
}

const (
	aClient   = 1
	aVIP      = 96
	aEndpoint = 200
)

// fillConntrack has many clients be answered by the hundred endpoints of a UDP
// Service.
func fillConntrack(ctx context.Context, many int, at func(byte, int) netip.Addr) error {
	var restore strings.Builder
	for i := range many {
		client := at(aClient, i)
		fmt.Fprintf(&restore, "-I -p udp -s %s -d %s --sport 1024 --dport 80 -r %s -q %s --reply-port-src 8080 --reply-port-dst 1024 -t 6000 -u SEEN_REPLY,ASSURED\n",
			client, at(aVIP, 1), at(aEndpoint, i%100), client)
	}
	fill := exec.CommandContext(ctx, "conntrack", "-R", "-")
	fill.Stdin = strings.NewReader(restore.String())
	if out, err := fill.CombinedOutput(); err != nil {
		return fmt.Errorf("fill the connection table: %w: %.300s", err, out)
	}
	return nil
}

// publishing returns Service i with so many endpoints.
func publishing(at func(byte, int) netip.Addr, i int, proto corev1.Protocol, endpoints int) []source.Event {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("svc-%d", i)}}
	s.Spec.ClusterIP = at(aVIP, i).String()
	s.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: proto}}
	model.Default(s)
	name, port := "", int32(8080)
	e := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: s.Name + "-x",
		Labels: map[string]string{discoveryv1.LabelServiceName: s.Name}}}
	if e.AddressType = discoveryv1.AddressTypeIPv4; at(aVIP, i).Is6() {
		e.AddressType = discoveryv1.AddressTypeIPv6
	}
	e.Ports = []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &proto}}
	for j := range endpoints {
		e.Endpoints = append(e.Endpoints, discoveryv1.Endpoint{Addresses: []string{at(aEndpoint, j).String()}})
	}
	model.DefaultSlice(e)
	return []source.Event{{Service: s}, {Slice: e}}
}
