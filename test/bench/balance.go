package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	kube "kube-ipvs/test/lib/cluster"
)

// balanceLimits bound the work of the part balance.
type balanceLimits struct {
	program          time.Duration // to program a change
	canary, peers    int           // connections to the Service with a canary, by kube-ipvs and by others
	even             int           // connections over ten endpoints, one after the other
	rate             int           // connections a second, while an endpoint comes
	life, slow, rise time.Duration // of one of them; of slow start; for which the endpoint is watched
	lasting, turns   int           // open connections, and endpoints that are replaced
}

func balanceLimitsOf(small bool) balanceLimits {
	l := balanceLimits{
		program: 90 * time.Second, canary: 100_000, peers: 10_000, even: 1000,
		rate: 400, life: 8 * time.Second, slow: 10 * time.Second, rise: 15 * time.Second, lasting: 1000, turns: 10,
	}
	if small {
		l.canary, l.peers, l.even, l.rate, l.life, l.slow, l.rise = 2000, 1000, 200, 100, 2*time.Second, 4*time.Second, 6*time.Second
		l.lasting, l.turns = 200, 4
	}
	return l
}

// backend is a Service of the part balance.
type backend struct {
	name        string
	last        byte // of its ClusterIP
	annotations map[string]string
	workloads   []string // of its endpoints
}

// The canary ought to get a tenth, and is one of four pods.
func backends(l balanceLimits) map[string]backend {
	ten := make([]string, 10)
	return map[string]backend{
		canary: {"canary", 1, map[string]string{"kube-ipvs/weights": "workload=shop-canary:10%"}, []string{"shop", "shop", "shop", "shop-canary"}},
		"rr":   {"rr", 2, map[string]string{"kube-ipvs/scheduler": "rr"}, ten},
		"lc":   {"lc", 3, map[string]string{"kube-ipvs/scheduler": "lc"}, ten},
		newcomer: {"newcomer", 4, map[string]string{"kube-ipvs/scheduler": "lc", "kube-ipvs/slow-start": l.slow.String()},
			make([]string, 4)},
	}
}

// Topics of the part balance: each is a table of docs/balancing.md.
const (
	canary   = "A canary that ought to get 10 %"
	even     = "New connections over ten endpoints"
	newcomer = "A new endpoint beside four"
	lasting  = "Long-lived connections after a rolling update"
)

var balanceTopics = []string{canary, even, newcomer, lasting}

// balanceSubject is a proxy, and the schedulers by which it is measured.
type balanceSubject struct {
	*proxy
	canary    bool
	services  []string // that show how even new connections are, by their schedulers
	scheduler string   // of the other works; empty: it has none
}

func balanceSubjects(b *bench) []balanceSubject {
	all := []balanceSubject{
		{&proxy{name: "iptables", mode: "iptables"}, true, []string{"rr"}, ""},
		{&proxy{name: "nftables", mode: "nftables"}, true, []string{"rr"}, ""},
		{&proxy{name: "ipvs", mode: "ipvs"}, true, []string{"rr"}, "rr"},
		{&proxy{name: "ipvs", mode: "ipvs", scheduler: "lc"}, false, []string{"lc"}, "lc"},
		{&proxy{name: ours, servers: "image"}, true, []string{"rr", "lc"}, "lc"},
		{&proxy{name: ours + " direct", servers: "direct"}, true, []string{"rr", "lc"}, "lc"},
	}
	var out []balanceSubject
	for _, s := range all {
		if len(b.chosen([]*proxy{s.proxy})) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// balanceRun measures one proxy.
type balanceRun struct {
	*bench
	lab     *lab
	subject balanceSubject
	dialer  *dialer
	limits  balanceLimits
	all     map[string]backend
}

// balance measures which endpoints get the connections.
func balance(ctx context.Context, b *bench) (err error) {
	l, err := newLab(ctx, b, kube.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	limits := balanceLimitsOf(b.small)
	const files = 100_000 // connections have two each
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: files}); err != nil {
		return err
	}
	d, err := newDialer(ctx, l)
	if err != nil {
		return err
	}
	defer d.close()
	for _, s := range balanceSubjects(b) {
		began := time.Now()
		r := &balanceRun{bench: b, lab: l, subject: s, dialer: d, limits: limits, all: backends(limits)}
		if err := r.play(ctx); err != nil {
			return fmt.Errorf("%s %s: %w", s.name, s.scheduler, err)
		}
		b.say("%s %s took %s", s.name, s.scheduler, time.Since(began).Round(time.Second))
	}
	return nil
}

// play makes all measurements of a proxy, which starts on a new node.
func (r *balanceRun) play(ctx context.Context) (err error) {
	for _, of := range r.all {
		if err := r.put(ctx, of); err != nil {
			return err
		}
	}
	if err := r.dialer.route(ctx); err != nil {
		return err
	}
	if err := r.subject.start(r.lab); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.subject.leave(r.lab)) }()
	for _, of := range r.all {
		if err := r.await(of, ""); err != nil {
			return err
		}
	}
	var works []func(context.Context) error
	if r.subject.canary {
		works = append(works, r.canary)
	}
	for _, name := range r.subject.services {
		works = append(works, func(context.Context) error { return r.even(name) })
	}
	for _, work := range append(works, r.newcomer, r.lasting) {
		if err := work(ctx); err != nil {
			return err
		}
	}
	return nil
}

// put makes a Service and its endpoints, as they are at the beginning.
func (r *balanceRun) put(ctx context.Context, of backend) error {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: of.name, Annotations: of.annotations}}
	s.Spec.ClusterIP = of.address().Addr().String()
	s.Spec.Ports = []corev1.ServicePort{{Port: int32(of.address().Port()), TargetPort: intstr.FromInt32(balancePort)}}
	if err := r.lab.control.ApplyService(ctx, s); err != nil {
		return err
	}
	return r.endpoints(ctx, of, numbers(0, len(of.workloads)))
}

// endpoints sets the endpoints of a Service by their numbers.
func (r *balanceRun) endpoints(ctx context.Context, of backend, some []int) error {
	port := int32(balancePort)
	var addrs []string
	for _, i := range some {
		addrs = append(addrs, of.endpoint(i))
	}
	s := r.lab.slice(of.name, addrs...)
	s.Ports[0].Port = &port
	for i := range s.Endpoints {
		if workload := of.workloads[min(i, len(of.workloads)-1)]; workload != "" {
			s.Endpoints[i].TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: kube.Namespace, Name: fmt.Sprintf("%s-7d4b9c8f6d-x%d", workload, i)}
		}
	}
	_, err := r.lab.slices(kube.Namespace).Update(ctx, s, metav1.UpdateOptions{})
	if err != nil {
		_, err = r.lab.slices(kube.Namespace).Create(ctx, s, metav1.CreateOptions{})
	}
	return err
}

// await connects until an endpoint, or any, answers.
func (r *balanceRun) await(of backend, endpoint string) error {
	for began := time.Now(); time.Since(began) < r.limits.program; {
		h, err := r.dialer.open(of.address())
		switch {
		case errors.Is(err, errUnanswered):
			time.Sleep(20 * time.Millisecond)
			continue
		case err != nil:
			return err
		}
		h.close()
		if endpoint == "" || h.endpoint == endpoint {
			return nil
		}
	}
	return fmt.Errorf("%s does not answer at %q within %s; %s", of.name, endpoint, r.limits.program, lastLine(r.subject.proxy))
}

// add notes a figure of the proxy.
func (r *balanceRun) add(topic, scheduler, unit string, sample float64, counts map[string]float64) {
	f := &Figure{Topic: topic, Subject: r.subject.title(scheduler), Unit: unit, Samples: []float64{sample}, Counts: counts}
	r.results.Add(f)
	r.say("  %s", f.line())
}

// title names a proxy as docs/balancing.md does.
func (s balanceSubject) title(scheduler string) string {
	name := s.name
	if s.mode != "" {
		name = "kube-proxy " + name
	}
	if scheduler != "" && s.scheduler != "" {
		name += ", " + scheduler
	}
	return name
}
