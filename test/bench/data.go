package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	kube "kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// dataLimits bound the time for one proxy at one size.
type dataLimits struct {
	sizes    []int
	program  time.Duration // to program all
	many     int           // connections, requests and datagrams
	each     time.Duration // for as many
	streams  int
	streamed time.Duration // each
}

func dataLimitsOf(small bool) dataLimits {
	if small {
		return dataLimits{sizes: []int{1, 200}, program: 20 * time.Second, many: 200, each: time.Second, streams: 1, streamed: 300 * time.Millisecond}
	}
	return dataLimits{sizes: []int{1, 1000, 10000, 30000}, program: 90 * time.Second, many: 5000, each: 6 * time.Second, streams: 4, streamed: 500 * time.Millisecond}
}

// dataRun measures one proxy at one size.
type dataRun struct {
	*bench
	lab      *lab
	proxy    *proxy
	services int
	limits   dataLimits
}

// data measures the cost of packets through a proxy.
func data(ctx context.Context, b *bench) (err error) {
	other, err := otherServers(ctx, b.binary)
	if err != nil {
		return err
	}
	l, err := newLab(ctx, b, kube.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	players := b.chosen(append([]*proxy{{name: ours}, {name: ours + " " + other, servers: other}}, peers()...))
	for _, p := range players {
		p.lasting = true
	}
	limits := dataLimitsOf(b.small)
	for i, services := range limits.sizes {
		began := time.Now()
		if err := l.seed(ctx, services, 1); err != nil {
			return err
		}
		if i == 0 {
			if err := l.addDatagrams(ctx); err != nil {
				return err
			}
		}
		b.say("%d Services are there after %s", services, time.Since(began).Round(time.Millisecond))
		for _, p := range players {
			began := time.Now()
			r := &dataRun{bench: b, lab: l, proxy: p, services: services, limits: limits}
			if err := r.all(ctx); ctx.Err() != nil {
				return fmt.Errorf("%s with %d Services: %w", p.name, services, err)
			} else if err != nil { // one failure leaves the results of the others
				r.add(&Figure{Topic: connectLast, Unit: "µs", Note: "not measured to the end: " + err.Error()})
			}
			b.say("%s with %d Services took %s", p.name, services, time.Since(began).Round(100*time.Millisecond))
		}
	}
	return nil
}

// Services that answer datagrams are few: the seeded ones do not.
const datagramServices = 10

func datagramAddr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, 1, byte(101 + i)}), 80)
}

func (l *lab) addDatagrams(ctx context.Context) error {
	return kube.Each(datagramServices, func(i int) error {
		udp := corev1.ProtocolUDP
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("datagrams-%d", i)}}
		s.Spec.ClusterIP = datagramAddr(i).Addr().String()
		s.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: udp, TargetPort: intstr.FromInt32(testbed.TargetPort)}}
		if _, err := l.control.Client().CoreV1().Services(kube.Namespace).Create(ctx, s, metav1.CreateOptions{}); err != nil {
			return err
		}
		slice := l.slice(s.Name, l.R1.IPv4.String())
		slice.Ports[0].Protocol = &udp
		_, err := l.slices(kube.Namespace).Create(ctx, slice, metav1.CreateOptions{})
		return err
	})
}

// Topics of data, and their units.
const (
	connectLast  = "Connect to the last Service"
	connectFirst = "Connect to the first Service"
	requestOne   = "Requests over one connection"
	firstPacket  = "First datagram"
	stream       = "Throughput of a connection"
)

var dataTopics = []struct{ topic, unit string }{{connectLast, "µs"}, {connectFirst, "µs"}, {requestOne, "µs"}, {firstPacket, "µs"}, {stream, "MB/s"}}

// all makes all measurements of a proxy that starts, and removes it.
func (r *dataRun) all(ctx context.Context) (err error) {
	if err := r.proxy.start(r.lab); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.proxy.leave(r.lab)) }()
	within, cancel := context.WithTimeout(ctx, r.limits.program)
	defer cancel()
	var all []netip.AddrPort
	for i := range 40 {
		all = append(all, seededAddr(i*(r.services-1)/39))
	}
	_, _, ok := r.lab.allAnswer(within, all)
	for i := range datagramServices {
		ok = ok && r.datagramsAnswered(within, datagramAddr(i))
	}
	if !ok {
		for _, t := range dataTopics {
			r.add(&Figure{Topic: t.topic, Unit: t.unit, Note: fmt.Sprintf("not measured: not all Services answered within %s of the start", r.limits.program)})
		}
		return nil
	}
	r.proxy.rested(ctx, 10*time.Second, 3)
	places, err := r.places(ctx)
	if err != nil {
		return err
	}
	return r.measure(places)
}

func (r *dataRun) datagramsAnswered(ctx context.Context, to netip.AddrPort) bool {
	for ctx.Err() == nil {
		out := failed
		if err := r.lab.C1.Do(func() error { out = askUDP(to, patience); return nil }); err != nil {
			return false
		}
		if out == answered {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

// places are where a proxy that goes through Services in turn looks first and
// last.
type places struct {
	first, last, datagrams netip.AddrPort
	note                   string // about where the datagrams go
}

// places asks iptables, whose rules are in an order of kube-proxy's own.
func (r *dataRun) places(ctx context.Context) (places, error) {
	p := places{first: seededAddr(0), last: seededAddr(r.services - 1), datagrams: datagramAddr(datagramServices - 1)}
	if r.proxy.mode != "iptables" {
		return p, nil
	}
	rules, err := r.lab.Node.Shell(ctx, "iptables -t nat -S KUBE-SERVICES")
	if err != nil {
		return p, err
	}
	var seeded []netip.AddrPort
	known, n, at := map[string]netip.AddrPort{}, 0, 0
	for i := range r.services {
		known[seededAddr(i).Addr().String()] = seededAddr(i)
	}
	udp := map[string]netip.AddrPort{}
	for i := range datagramServices {
		udp[datagramAddr(i).Addr().String()] = datagramAddr(i)
	}
	for line := range strings.Lines(rules) {
		_, rest, ok := strings.Cut(line, " -d ")
		if !ok {
			continue
		}
		n++
		ip, _, _ := strings.Cut(rest, "/")
		if to, ok := known[ip]; ok {
			seeded = append(seeded, to)
		}
		if to, ok := udp[ip]; ok {
			p.datagrams, at = to, n
		}
	}
	if len(seeded) == 0 || at == 0 {
		return p, fmt.Errorf("KUBE-SERVICES does not name the Services")
	}
	p.first, p.last = seeded[0], seeded[len(seeded)-1]
	p.note = fmt.Sprintf("by rule %d of %d", at, n)
	return p, nil
}

// measure makes the connections. That a Service does not answer is a fault.
func (r *dataRun) measure(p places) error {
	for _, c := range []struct {
		topic string
		to    netip.AddrPort
	}{{connectLast, p.last}, {connectFirst, p.first}} {
		began, cl := time.Now(), client{r.lab.C1, c.to}
		samples, unanswered, err := cl.micros(r.limits.many, r.limits.each, cl.connection)
		if err != nil {
			return err
		}
		took := time.Since(began)
		pod := client{r.lab.C1, netip.AddrPortFrom(r.lab.R1.IPv4, testbed.TargetPort)}
		past, _, err := pod.micros(r.limits.many/4, r.limits.each/4, pod.connection)
		if err != nil {
			return err
		}
		r.add(&Figure{Topic: c.topic, Unit: "µs", Samples: samples, Counts: map[string]float64{
			"connections with a request a second": float64(len(samples)) / took.Seconds(), "p50 straight to a pod": (&Figure{Samples: past}).Median(),
			"not answered": float64(unanswered),
		}})
	}
	last := client{r.lab.C1, p.last}
	samples, err := last.requests(r.limits.many, r.limits.each)
	if err != nil {
		return err
	}
	r.add(&Figure{Topic: requestOne, Unit: "µs", Samples: samples})
	udp := client{r.lab.C1, p.datagrams}
	samples, unanswered, err := udp.micros(r.limits.many, r.limits.each, udp.datagram)
	if err != nil {
		return err
	}
	r.add(&Figure{Topic: firstPacket, Unit: "µs", Samples: samples, Counts: map[string]float64{"not answered": float64(unanswered)}, Note: p.note})
	samples = nil
	for range r.limits.streams {
		speed, err := last.throughput(r.limits.streamed)
		if err != nil {
			return err
		}
		samples = append(samples, speed)
	}
	r.add(&Figure{Topic: stream, Unit: "MB/s", Samples: samples})
	return nil
}

// add notes a figure of the proxy.
func (r *dataRun) add(f *Figure) {
	f.Subject, f.Services, f.Endpoints = r.proxy.name, r.services, 1
	if n := len(f.Samples); n > 0 && n < r.limits.many && f.Topic != stream {
		f.Note = join(f.Note, fmt.Sprintf("%d of %d within %s", n, r.limits.many, r.limits.each))
	}
	r.results.Add(f)
	r.say("  %s", f.line())
}
