package proxier

import (
	"bytes"
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

	"kube-ipvs/proxier/cluster"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// Failing writes are counted by cause, from the first failure on. A Service has a problem if the kernel does
// not take its values, or if another program's object is in the way, but not if the node is the cause.
func TestFailingWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mine, taken := serverAt("10.96.0.1:80"), serverAt("10.96.0.2:80")
		odd := state.RealServerID(serverAt("10.96.0.3:80"), netip.MustParseAddrPort("10.244.0.255:8080"))
		k := &refusing{Fake: newFake(), refuse: map[state.ID]error{mine: kernel.ErrStale, taken: fmt.Errorf("%w: file exists", kernel.ErrForeign), odd: unix.EINVAL}}
		p := running(t, k, testConfig(desired.Direct))
		p.Events([]source.Event{webService("10.96.0.1"), webService("10.96.0.2"), webService("10.96.0.3"), webSlice("10.96.0.3", "10.244.0.255")})
		p.Synced()
		synctest.Wait()
		start := time.Now()
		time.Sleep(time.Minute)
		synctest.Wait()
		f := p.Last().Failing
		if !f.Since.Equal(start) || !strings.Contains(f.First, mine.String()) || f.Node != 1 || f.Foreign != 1 || f.Object != 1 || f.Blocked < 1 {
			t.Errorf("failing %+v, want one of the node's since %v", f, start)
		}
		longest := p.Last().Unwritten
		if len(longest) != f.All() || !slices.IsSortedFunc(longest, func(a, b report.Unwritten) int { return a.Since.Compare(b.Since) }) ||
			!slices.ContainsFunc(longest, func(u report.Unwritten) bool {
				return u.Op.ID == taken && errors.Is(u.Err, kernel.ErrForeign) && u.Since.Equal(start)
			}) {
			t.Errorf("unwritten %v, want %d with %v since %v", longest, f.All(), taken, start)
		}
		for ip, want := range map[string]bool{"10.96.0.1": false, "10.96.0.2": true, "10.96.0.3": true} {
			told := slices.ContainsFunc(p.Last().Problems, func(pr model.Problem) bool { return pr.Object == "Service default/"+nameOf(ip) })
			if told != want {
				t.Errorf("the Service of %s has a problem: %v, want %v: %v", ip, told, want, p.Last().Problems)
			}
		}
		clear(k.refuse)
		p.Events(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if r := p.Last(); r.Failing != (report.Failing{}) || len(r.Unwritten) > 0 || len(r.Problems) > 0 {
			t.Errorf("still failing: %+v, %v", r.Failing, r.Problems)
		}
	})
}

// The backlog counts the changes that came in and are not programmed.
func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newFake()
		p := New(k, testConfig(desired.Direct))
		if b := p.Backlog(); b != (report.Backlog{}) {
			t.Errorf("at first: %+v", b)
		}
		start := time.Now()
		p.Events([]source.Event{webService("10.96.0.1"), webSlice("10.96.0.1", "10.244.0.1")})
		time.Sleep(time.Second)
		p.Events([]source.Event{webSlice("10.96.0.1", "10.244.0.2")})
		p.Synced()
		if b := p.Backlog(); b != (report.Backlog{Changes: report.Changes{Services: 1, Slices: 2}, Since: start}) {
			t.Errorf("waiting: %+v", b)
		}
		k.ReadErr = fmt.Errorf("interrupted")
		p.round(t.Context())
		if b := p.Backlog(); b != (report.Backlog{Changes: report.Changes{Services: 1, Slices: 2}, Since: start}) {
			t.Errorf("after an aborted round: %+v", b)
		}
		k.ReadErr = nil
		p.round(t.Context())
		if b := p.Backlog(); b != (report.Backlog{}) || p.Last().Err != nil {
			t.Errorf("when all is done: %+v", b)
		}
	})
}

// While the kernel cannot be read, each round says so, also one that programs a change between two
// tries, and the log says it once.
func TestUnreadBetweenTwoTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := testConfig(desired.Direct)
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		var rounds []*report.Round
		c.Observe = func(r *report.Round) { rounds = append(rounds, r) }
		k := newFake()
		p := running(t, k, c)
		p.Events([]source.Event{webService("10.96.0.1")})
		p.Synced()
		synctest.Wait()
		k.ReadErr = errors.New("interrupted")
		p.Audit()
		time.Sleep(time.Minute)
		synctest.Wait()
		p.Events([]source.Event{webService("10.96.0.2")})
		synctest.Wait()
		aborted := slices.IndexFunc(rounds, func(r *report.Round) bool { return r.Err != nil })
		if aborted < 0 || p.Last().Err != nil || !k.State.Has(serverAt("10.96.0.2:80")) {
			t.Fatalf("no round was aborted, or the change is not programmed: %v", p.Last().Err)
		}
		for _, r := range rounds[aborted:] {
			if r.Unread == nil {
				t.Errorf("round %d does not say that the kernel cannot be read", r.Number)
			}
		}
		k.ReadErr = nil
		p.Events(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := p.Last().Unread; err != nil {
			t.Errorf("unread after a read: %v", err)
		}
		if n, over := strings.Count(log.String(), "a round is aborted"), strings.Count(log.String(), "rounds succeed again"); n != 1 || over != 1 {
			t.Errorf("logged %d times, and %d times that it is over", n, over)
		}
	})
}

// The round that programmed a change has its trigger time, once. It is by the process's own clock, even if the
// clock of the other machine is wrong.
func TestTriggers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []time.Time
		c := testConfig(desired.Direct)
		c.Observe = func(r *report.Round) { told = append(told, r.Triggers...) }
		p := running(t, newFake(), c)
		time.Sleep(time.Hour)
		at := time.Now().Add(-time.Second).Truncate(time.Microsecond)
		slice := func(text string) source.Event {
			e := webSlice("10.96.0.1", "10.244.0.1")
			e.Slice.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: text}
			return e
		}
		p.Events([]source.Event{webService("10.96.0.1"), slice(at.Format(time.RFC3339Nano)), slice("nonsense"),
			slice(at.Add(-48 * time.Hour).Format(time.RFC3339Nano)), slice(at.Add(48 * time.Hour).Format(time.RFC3339Nano))})
		now := time.Now()
		p.Synced()
		synctest.Wait()
		p.Audit()
		synctest.Wait()
		if len(told) != 2 || !told[0].Equal(at) || !told[1].Equal(now) {
			t.Errorf("told %v, want %v and %v", told, at, now)
		}
	})
}

// The counts of objects after writes are those of a read.
func TestObjectsAreCounted(t *testing.T) {
	k := newFake()
	p := New(k, testConfig(desired.Image))
	p.Synced()
	for _, endpoint := range []string{"10.244.0.1", "", "10.244.0.2"} {
		p.Events([]source.Event{webService("10.96.0.1"), webSlice("10.96.0.1", endpoint)})
		p.round(t.Context())
		for kind, n := range k.State.Count().Map() {
			if p.Last().Objects[kind] != n {
				t.Errorf("%d of %s, the kernel has %d", p.Last().Objects[kind], kind, n)
			}
		}
	}
}

// The loop knows pods by the incoming interface of their traffic.
func TestPodInterface(t *testing.T) {
	c := testConfig(desired.Direct).Desired
	c.PodCIDRs, c.PodInterface = [2]netip.Prefix{}, "veth+"
	if rules := c.Rules(state.IPv4); !strings.Contains(rules, "-A KIPVS-CLUSTER ! -i veth+ -j MARK") {
		t.Errorf("rules:\n%s", rules)
	}
}

// Served returns the Service port of each virtual server.
func TestNames(t *testing.T) {
	for _, mode := range []desired.Mode{desired.Direct, desired.Image} {
		c := testConfig(mode)
		c.Names = cluster.NewNames()
		k := newFake()
		p := New(k, c)
		svc := webService("10.96.0.1")
		svc.Service.Spec.Type = corev1.ServiceTypeNodePort
		svc.Service.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 80, NodePort: 30080}, {Name: "b", Port: 30080, NodePort: 30081}}
		model.Default(svc.Service)
		p.Events([]source.Event{svc})
		p.Synced()
		p.round(t.Context())
		seen := map[string]int{}
		for id := range k.State.All() {
			if id.Kind == state.VirtualServer {
				name, ok := c.Names.Served(id)
				if !ok {
					t.Errorf("%s has no name", id)
				}
				seen[name.String()+":"+name.Port]++
				if name.Whole != (mode == desired.Direct && name.Reach == desired.ClusterIP) {
					t.Errorf("%s: %s by %s, whole %v", mode, id, name.Reach, name.Whole)
				}
			}
		}
		want := "default/" + nameOf("10.96.0.1")
		if len(seen) != 2 || seen[want+":a"] != 2 || seen[want+":b"] != 2 {
			t.Errorf("%s: names %v", mode, seen)
		}
		slice := webSlice("10.96.0.1", "010.244.0.01")
		slice.Slice.Endpoints[0].TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: "web-0"}
		p.Events([]source.Event{slice})
		p.round(t.Context())
		pod := func() string {
			return c.Names.PodOf(model.Key{Namespace: "default", Name: nameOf("10.96.0.1")}, netip.MustParseAddr("10.244.0.1"))
		}
		if pod() != "web-0" {
			t.Errorf("the endpoint is pod %q", pod())
		}
		svc.Deleted, slice.Deleted = true, true
		p.Events([]source.Event{svc, slice})
		p.round(t.Context())
		if pod() != "" {
			t.Errorf("the endpoint that is gone is pod %q", pod())
		}
	}
}

// MinSyncPeriod passes between the rounds of changes.
func TestMinSyncPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testConfig(desired.Direct)
		c.MinSyncPeriod = time.Second
		rounds := 0
		c.Observe = func(*report.Round) { rounds++ }
		p := running(t, newFake(), c)
		p.Synced()
		for i := range 100 {
			p.Events([]source.Event{webSlice("10.96.0.1", fmt.Sprintf("10.244.0.%d", i+1))})
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if rounds < 9 || rounds > 12 {
			t.Errorf("%d rounds in ten seconds", rounds)
		}
	})
}
