package cluster

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// soakFor is how long TestSoak plays all modes together, unless KUBE_IPVS_SOAK says another
// time: as long as it takes to do all that it does once.
const soakFor = 24 * time.Second

// soakModes are two ways to run kube-ipvs that differ in all that they program.
var soakModes = [][]string{
	{"--cluster-ip-servers=image", "--vip-binding=address"},
	{"--cluster-ip-servers=direct", "--vip-binding=route"},
}

// soakFaults are done to a node one after another, again and again. No notification tells of
// some, which SIGHUP has looked for.
var soakFaults = []string{
	"for t in mangle nat filter; do iptables -t $t -F; ip6tables -t $t -F; done",
	"ipvsadm -C; kill -HUP $(pgrep -x kube-ipvs)",
	"ip link del kube-ipvs0",
	"ip route flush table local proto 77; ip -6 route flush table local proto 77",
	"ipset flush KIPVS-CLUSTER; kill -HUP $(pgrep -x kube-ipvs)",
	"nft flush ruleset",
	"conntrack -F 2>&1; conntrack -F -f ipv6 2>&1",
}

const (
	soakServices  = 200
	soakEndpoints = 5
	soakChurn     = 100 * time.Millisecond // from one change of an endpoint to the next
	soakPassing   = 2 * time.Second        // from a Service that comes to one that goes
)

// TestSoak changes ten endpoints a second, makes and deletes Services, deletes objects
// of kube-ipvs and ends the API server, for as long as it is told: hours by make soak.
// Then the node has the objects that it had before, and kube-ipvs not much more
// memory, goroutines and open files. The test prints the kernel's connections and
// memory, and does not judge them, since they depend on timeouts.
func TestSoak(t *testing.T) {
	testbed.Long(t, "make soak")
	long := soakFor
	if text := os.Getenv("KUBE_IPVS_SOAK"); text != "" {
		var err error
		long, err = time.ParseDuration(text)
		must(t, err)
	}
	long /= time.Duration(len(soakModes))
	for _, mode := range soakModes {
		t.Run(strings.Join(mode, " "), func(t *testing.T) {
			begin(t)
			fill(t, control, soakServices, soakEndpoints)
			s := &soak{daemon: start(t, mode...), base: testbed.Service{Name: "base", Number: 1}}
			apply(t, bed.With(s.base, testbed.Backends(bed.P1)))
			s.play(t, long/4) // caches and pools grow at first
			before, was := s.rest(t), snapshot(t)
			s.play(t, long-long/4)
			after := s.rest(t)
			same(t, was, snapshot(t))
			t.Logf("before %v", before)
			t.Logf("after  %v: %d changes, %d faults; %d requests were answered, %d were not", after, s.changes.Load(), s.faults, s.answered.Load(), s.failed.Load())
			if s.answered.Load() == 0 || s.passed.Load() == 0 || s.changes.Load() == 0 || !s.ended {
				t.Errorf("not all of it happened: %d Services came or went, the API server was ended: %v", s.passed.Load(), s.ended)
			}
			after.within(t, before)
		})
	}
}

type soak struct {
	daemon           *testbed.Daemon
	base             testbed.Service // asked all the time, with endpoints that change
	changes, passed  atomic.Int64
	answered, failed atomic.Int64
	faults           int
	ended            bool       // the API server, once at least
	away             sync.Mutex // held while there is no API server
}

// play has all of it happen for some time.
func (s *soak) play(t *testing.T, long time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { s.churn(ctx, t) })
	all.Go(func() { s.pass(ctx, t) })
	all.Go(func() { s.ask(ctx) })
	began, told := time.Now(), time.Now()
	for i := 0; ctx.Err() == nil || i <= len(soakFaults); i++ {
		s.fault(t, i)
		s.recovered(t)
		if time.Since(told) > long/20 && long > time.Minute {
			told = time.Now()
			t.Logf("%6.0f s %v", time.Since(began).Seconds(), s.sample(t))
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(long/10, 5*time.Second)):
		}
	}
	all.Wait()
}

// fault deletes objects or, after every five rounds of deletions, ends the API server
// for a moment, whose start takes the machine more than all the rest.
func (s *soak) fault(t *testing.T, i int) {
	t.Helper()
	s.faults++
	if i %= 5*len(soakFaults) + 1; i != len(soakFaults) {
		sh(t, bed.Node, soakFaults[i%len(soakFaults)])
		return
	}
	s.away.Lock()
	defer s.away.Unlock()
	must(t, control.API.Kill())
	must(t, control.StartAPI(t.Context()))
	s.ended = true
}

// recovered waits until the Service answers. The end of the test shows the other
// effects of a fault, when all is as before.
func (s *soak) recovered(t *testing.T) {
	t.Helper()
	must(t, testbed.Await(t.Context(), 2*time.Minute, func() error {
		return outcome(t.Context(), bed.C1, "tcp", s.base.ClusterIP(), true, []string{"p1", "p2"})
	}))
}

// churn changes the endpoints of each Service in turn.
func (s *soak) churn(ctx context.Context, t *testing.T) {
	for n := range every(ctx, soakChurn) {
		i := n % soakServices
		s.away.Lock() // without an API server no object changes
		err := control.Rewrite(ctx, manyEndpoints(fmt.Sprintf("many-%d", i), i+n, soakEndpoints))
		s.away.Unlock()
		if err != nil && ctx.Err() == nil {
			t.Error(err)
			return
		}
		s.changes.Add(1)
	}
}

// pass has a Service come and go, and the one that is asked have another endpoint.
func (s *soak) pass(ctx context.Context, t *testing.T) {
	passing := testbed.Service{Name: "passing", Number: 2, Type: "NodePort"}
	for n := range every(ctx, soakPassing) {
		s.away.Lock()
		err := control.Apply(ctx, bed.With(s.base, testbed.Backends([]*testbed.Host{bed.P1, bed.P2}[n%2])))
		if n%2 == 0 {
			err = errors.Join(err, control.Apply(ctx, bed.With(passing, testbed.Backends(bed.P1))))
		} else {
			err = errors.Join(err, control.Delete(ctx, passing.Name))
		}
		s.away.Unlock()
		if err != nil && ctx.Err() == nil {
			t.Error(err)
			return
		}
		s.passed.Add(1)
	}
}

// every yields 0, 1 and so on, one each gap, until ctx ends.
func every(ctx context.Context, gap time.Duration) iter.Seq[int] {
	return func(yield func(int) bool) {
		tick := time.NewTicker(gap)
		defer tick.Stop()
		for n := 0; ctx.Err() == nil && yield(n); n++ {
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}
}

// ask asks over TCP and UDP. It counts requests without an answer: objects are missing
// at times.
func (s *soak) ask(ctx context.Context) {
	for ctx.Err() == nil {
		for _, network := range []string{"tcp", "udp"} {
			if _, err := bed.C1.Ask(context.WithoutCancel(ctx), network, s.base.ClusterIP().V4, testbed.From{}); err != nil {
				s.failed.Add(1)
			} else {
				s.answered.Add(1)
			}
		}
		time.Sleep(20 * time.Millisecond) // leaves the CPU to those under test
	}
}

// rest has all objects as they were at first, and awaits that they are programmed.
func (s *soak) rest(t *testing.T) soakSample {
	t.Helper()
	for i := range soakServices {
		must(t, control.Rewrite(t.Context(), manyEndpoints(fmt.Sprintf("many-%d", i), i, soakEndpoints)))
	}
	must(t, control.Delete(t.Context(), "passing"))
	apply(t, bed.With(s.base, testbed.Backends(bed.P1)))
	s.recovered(t)
	settled(t, s.daemon)
	return s.sample(t)
}

// soakSample is the values that may grow.
type soakSample struct {
	anonymous, goroutines, files int // of kube-ipvs: KiB, and numbers
	conntrack, ipvs              int // connections of the node
	slab                         int // KiB of the kernel
}

func (s soakSample) String() string {
	return fmt.Sprintf("%d KiB of memory, %d goroutines, %d open files; %d entries of conntrack, %d connections of IPVS, %d KiB of kernel objects",
		s.anonymous, s.goroutines, s.files, s.conntrack, s.ipvs, s.slab)
}

func (s *soak) sample(t *testing.T) (now soakSample) {
	t.Helper()
	u, err := cluster.UsageOf(s.daemon.PID())
	must(t, err)
	goroutines, err := metric(t.Context(), "go_goroutines")
	must(t, err)
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.daemon.PID()))
	must(t, err)
	now = soakSample{anonymous: u.Own, goroutines: int(goroutines), files: len(files)}
	_, err = fmt.Sscan(sh(t, bed.Node, `cat /proc/sys/net/netfilter/nf_conntrack_count
tail -n +2 /proc/net/ip_vs_conn | wc -l
awk '/^Slab:/ {print $2}' /proc/meminfo`), &now.conntrack, &now.ipvs, &now.slab)
	must(t, err)
	return now
}

// within fails where more is held than before. A few goroutines and files are those of a
// connection to the API server, and the heap is as large as it was when it was last collected.
func (s soakSample) within(t *testing.T, before soakSample) {
	t.Helper()
	const few = 8
	if s.goroutines > before.goroutines+few || s.files > before.files+few || s.anonymous > before.anonymous*5/4+8<<10 {
		t.Errorf("kube-ipvs holds more than before: %v; it was %v", s, before)
	}
}
