package proxier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// The backoff and periods of the ledger and the cluster.
const (
	factsInterval = 2 * time.Second
	retryFirst    = 100 * time.Millisecond
	retryLast     = 30 * time.Second
	drainInterval = time.Second
)

// refusing is a kernel that refuses writes of some objects.
type refusing struct {
	*kernel.Fake
	refuse map[state.ID]error
	tries  []time.Time // of refused writes
}

func (k *refusing) Apply(ctx context.Context, plan state.Plan) []error {
	errs := make([]error, len(plan))
	for i, op := range plan {
		if err := k.refuse[op.ID]; err != nil {
			errs[i] = err
			k.tries = append(k.tries, time.Now())
		} else if e := k.Fake.Apply(ctx, state.Plan{op}); e != nil {
			errs[i] = e[0]
		}
	}
	return errs
}

func nameOf(ip string) string { return "web-" + strings.ReplaceAll(ip, ".", "-") }

func webService(ip string) source.Event {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: nameOf(ip)}}
	s.Spec.ClusterIP = ip
	s.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	model.Default(s)
	return source.Event{Service: s}
}

func webSlice(ip, endpoint string) source.Event {
	name, port := "", int32(8080)
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: nameOf(ip) + "-1",
		Labels: map[string]string{discoveryv1.LabelServiceName: nameOf(ip)}}}
	s.AddressType = discoveryv1.AddressTypeIPv4
	s.Ports = []discoveryv1.EndpointPort{{Name: &name, Port: &port}}
	if endpoint != "" {
		s.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{endpoint}}}
	}
	model.DefaultSlice(s)
	return source.Event{Slice: s}
}

func serverAt(addr string) state.ID {
	return state.VirtualServerID(state.TCP, netip.MustParseAddrPort(addr))
}

// running starts the loop in a bubble of synctest and ends it with the test.
func running(t *testing.T, k kernel.Kernel, c Config) *Proxier {
	p := New(k, c)
	start(t, p)
	return p
}

// start runs p until the test ends.
func start(t *testing.T, p *Proxier) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// The loop tries a failed write again, with growing delay. Other failures do not delay it, and not every try
// reads the kernel.
func TestFailedWriteIsRetriedWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := serverAt("10.96.0.1:80")
		k := &refusing{Fake: newFake(), refuse: map[state.ID]error{bad: kernel.ErrStale}}
		c := testConfig(desired.Direct)
		c.AuditPeriod = time.Hour
		p := running(t, k, c)
		p.Events([]source.Event{webService("10.96.0.1"), webService("10.96.0.2")})
		p.Synced()
		start := time.Now()
		for range 600 { // a change every 100 ms for a minute
			time.Sleep(100 * time.Millisecond)
			p.Events([]source.Event{webSlice("10.96.0.2", []string{"10.244.0.1", "10.244.0.2"}[time.Now().UnixMilli()/100%2])})
		}
		synctest.Wait()
		if n := len(k.tries); n < 8 || n > 14 {
			t.Errorf("tried %d times in a minute: %v", n, offsets(start, k.tries))
		}
		if k.Reads > 3 {
			t.Errorf("the kernel was read %d times", k.Reads)
		}
		if !k.State.Has(serverAt("10.96.0.2:80")) {
			t.Error("the neighbour was not programmed")
		}
		if p.Last().Failing.All() == 0 {
			t.Error("the failure is not visible")
		}
		delete(k.refuse, bad)
		p.Events(nil)
		time.Sleep(retryLast)
		synctest.Wait()
		if ok := k.State.Has(bad); !ok || p.Last().Failing.All() > 0 {
			t.Error("not programmed when it became possible")
		}
	})
}

func offsets(start time.Time, at []time.Time) []time.Duration {
	var out []time.Duration
	for _, a := range at {
		out = append(out, a.Sub(start))
	}
	return out
}

// The audit comes on a timer; the loop reports the changes of other programs and repairs them.
func TestAuditRepairsDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newFake()
		var log bytes.Buffer
		c := testConfig(desired.Direct)
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		p := running(t, k, c)
		p.Events([]source.Event{webService("10.96.0.1"), webSlice("10.96.0.1", "10.244.0.1")})
		p.Synced()
		synctest.Wait()
		server := serverAt("10.96.0.1:80")
		stray := state.EntryID(state.SetCluster, state.TCP, netip.MustParseAddrPort("10.96.9.9:80"))
		k.State.Delete(state.RealServerID(server, netip.MustParseAddrPort("10.244.0.1:8080")))
		k.State.Put(server, state.Intern(state.Spec{Scheduler: "lc", Flags: state.FlagOurs}))
		k.State.Put(stray, state.None)
		before := k.Writes
		p.Events(nil) // what the test wrote, the loop must see
		time.Sleep(c.AuditPeriod)
		synctest.Wait()
		if n := k.Writes - before; n != 3 {
			t.Errorf("%d writes repaired three differences", n)
		}
		for _, want := range []string{"real server 10.244.0.1:8080 of 10.96.0.1:80/tcp is gone", "virtual server 10.96.0.1:80/tcp was changed",
			"entry KIPVS-CLUSTER 10.96.9.9,tcp:80 was added"} {
			said := slices.ContainsFunc(p.Last().Drift, func(d report.Drift) bool { return d.String() == want })
			if !said || !strings.Contains(log.String(), want) {
				t.Errorf("not reported: %s\n%v", want, p.Last().Drift)
			}
		}
		time.Sleep(c.AuditPeriod)
		synctest.Wait()
		if len(p.Last().Drift) > 0 {
			t.Errorf("still drift: %v", p.Last().Drift)
		}
	})
}

// VIPs follow a change of the node's own address, the source of its packets to them. A burst of link events
// causes one read.
func TestFactsAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newFake()
		p := running(t, k, testConfig(desired.Direct))
		p.Events([]source.Event{webService("10.96.0.1")})
		p.Synced()
		synctest.Wait()
		reads := k.Reads
		moved := netip.MustParseAddr("192.168.50.99")
		k.NodeFacts.NodeIPs = []netip.Addr{moved}
		for range 1000 {
			time.Sleep(time.Millisecond)
			p.FactsChanged()
		}
		time.Sleep(2 * factsInterval)
		synctest.Wait()
		if got := specOf(k, state.VIPID(netip.MustParseAddr("10.96.0.1"))).Source; got != moved {
			t.Errorf("the VIP's source is %s, want %s", got, moved)
		}
		if n := k.Reads - reads; n > 1 {
			t.Errorf("the kernel was read %d times", n)
		}
	})
}

// The loop writes the Services that the cluster needs before all others.
func TestFirstThingsFirst(t *testing.T) {
	k := newFake()
	var order []string
	k.OnOp = func(op state.Op) {
		if op.ID.Kind == state.Entry && op.ID.Set == state.SetCluster || op.ID.Kind == state.VirtualServer {
			order = append(order, op.ID.String())
		}
	}
	p := New(k, testConfig(desired.Direct))
	api := webService("10.96.0.1")
	api.Service.Name = "kubernetes"
	p.Events([]source.Event{webService("10.96.0.2"), webService("10.96.0.3"), api})
	p.Synced()
	p.round(t.Context())
	if len(order) != 6 || order[0] != serverAt("10.96.0.1:80").String() || order[1] != "entry KIPVS-CLUSTER 10.96.0.1,tcp:80" {
		t.Errorf("the API server came up in this order: %q", order)
	}
}

// specOf returns the Spec of an object, or the zero Spec if it is missing.
func specOf(k *kernel.Fake, id state.ID) state.Spec {
	if spec, ok := k.State.Get(id); ok {
		return spec.Value()
	}
	return state.Spec{}
}

// slowRules is a kernel that refuses to write rules after a long time.
type slowRules struct {
	*kernel.Fake
	takes time.Duration
	tries int
}

func (k *slowRules) Apply(ctx context.Context, plan state.Plan) []error {
	if plan[0].ID.Kind != state.Rules || k.takes == 0 {
		return k.Fake.Apply(ctx, plan)
	}
	k.tries++
	time.Sleep(k.takes)
	return []error{errors.New("iptables did not end")}
}

// An iptables that hangs keeps the loop from other work for at most a tenth of its time, and is no reason to
// restart the process. SIGHUP tries it at once.
func TestSlowFailuresRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &slowRules{Fake: newFake()}
		c := testConfig(desired.Image)
		p := running(t, k, c)
		p.Events([]source.Event{webService("10.96.0.1")})
		p.Synced()
		synctest.Wait()
		k.takes = 15 * time.Second
		for _, family := range state.Families(true) {
			k.State.Put(state.RulesID(family), state.Intern(state.Spec{Condition: state.Differs, Text: "changed"}))
		}
		p.Audit()
		slow := 0
		for i := range 600 {
			time.Sleep(time.Second)
			if p.Stuck() > k.takes {
				t.Fatalf("stuck for %s", p.Stuck())
			}
			ip := fmt.Sprintf("10.96.1.%d", i%200+1)
			p.Events([]source.Event{webService(ip)})
			time.Sleep(time.Second)
			synctest.Wait()
			if !k.State.Has(serverAt(fmt.Sprintf("242.96.1.%d:80", i%200+1))) {
				slow++
			}
			e := webService(ip)
			e.Deleted = true
			p.Events([]source.Event{e})
		}
		synctest.Wait()
		if k.tries < 4 || slow > 150 {
			t.Errorf("tried %d times; %d of 600 changes took more than a second", k.tries, slow)
		}
		k.takes = 0
		p.Audit()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if f := p.Last().Failing; f.All() != 0 {
			t.Errorf("still failing when it became possible: %+v", f)
		}
	})
}

// A permanent failure does not delay the retry of a short one.
func TestRetriesDoNotWaitForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forGood, forAMoment := serverAt("10.96.0.1:80"), serverAt("10.96.0.2:80")
		k := &refusing{Fake: newFake(), refuse: map[state.ID]error{forGood: unix.EINVAL}}
		p := running(t, k, testConfig(desired.Direct))
		p.Events([]source.Event{webService("10.96.0.1")})
		p.Synced()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		k.refuse[forAMoment] = errors.New("no memory")
		p.Events([]source.Event{webService("10.96.0.2")})
		synctest.Wait()
		delete(k.refuse, forAMoment)
		p.RulesChanged() // what the test wrote, the loop must see
		time.Sleep(2 * retryFirst)
		synctest.Wait()
		if !k.State.Has(forAMoment) || !k.State.Has(state.EntryID(state.SetCluster, state.TCP, netip.MustParseAddrPort("10.96.0.2:80"))) {
			t.Error("not programmed soon after it became possible")
		}
	})
}
