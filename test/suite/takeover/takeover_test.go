// Package takeover tests by packets that a node changes hands, from kube-proxy to
// kube-ipvs, without a client noticing. It runs in the lab.
package takeover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier"
	"kube-ipvs/proxier/cluster"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/test/lib/testbed"
)

// loop is the loop of the real program, in this process, on the node of a test bed. It
// takes over.
type loop struct {
	t    *testing.T
	p    *proxier.Proxier
	log  *bytes.Buffer
	stop func()
}

var web = testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer", External: true}

// takeOver starts the loop over the manifests in dir and waits until it has
// programmed all.
func takeOver(t *testing.T, mode desired.Mode, dir string, drain time.Duration) *loop {
	t.Helper()
	d := desired.Config{Mode: mode, Scheduler: "rr", IPv6: true, Images: desired.DefaultImages, MasqueradeBit: 14, NodeName: "node"}
	d.PodCIDRs[0], d.PodCIDRs[1] = bed.PodCIDR4, bed.PodCIDR6
	k, err := kernel.OpenLinux(t.Context(), kernel.Options{IPv6: true, Backend: netutil.NFT, TakeOver: true})
	if err != nil {
		t.Fatal(err)
	}
	l := &loop{t: t, log: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(l.log, nil))
	first := make(chan *report.Round, 1)
	l.p = proxier.New(k, proxier.Config{
		Config: cluster.Config{Desired: d}, AuditPeriod: time.Hour, DrainTimeout: drain, Log: log,
		Observe: func(r *report.Round) {
			if r.NotReady == "" {
				select {
				case first <- r:
				default:
				}
			}
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { l.p.Run(ctx) })
	wg.Go(func() { _ = source.Manifests([]string{dir}, log).Run(ctx, l.p) })
	l.stop = sync.OnceFunc(func() { cancel(); wg.Wait(); _ = k.Close() })
	t.Cleanup(func() {
		l.stop()
		if t.Failed() {
			t.Logf("the loop said:\n%s", l.log)
		}
	})
	select {
	case r := <-first:
		if len(r.Failures) > 0 || r.Err != nil {
			t.Errorf("taking over failed: %v, %v", r.Failures, r.Err)
		}
	case <-time.After(testbed.Limit(20 * time.Second)):
		t.Fatal("nothing is programmed")
	}
	return l
}

var bed *testbed.Bed

func TestMain(m *testing.M) {
	testbed.Main(m, "make lab-test LAB_PACKAGES=test/suite/takeover", prepare, func() { bed.Close() })
}

// prepare builds the bed with its endpoints.
func prepare(ctx context.Context) (err error) {
	if bed, err = testbed.New(ctx); err != nil {
		return err
	}
	for _, h := range []*testbed.Host{bed.P1, bed.P2} {
		if _, err := bed.Serve(h, testbed.TargetPort, h.Name); err != nil {
			return err
		}
	}
	return nil
}

// wipe removes the objects of all proxies.
const wipe = `for i in iptables ip6tables; do for t in mangle nat filter; do $i -t $t -F; $i -t $t -X; done; done
nft flush ruleset
ipvsadm -C; ip link del kube-ipvs0 2>/dev/null || true
ip route flush table local proto 77; ip -6 route flush table local proto 77
for try in $(seq 50); do ipset destroy 2>/dev/null && break; sleep 0.02; done
conntrack -F 2>/dev/null; conntrack -F -f ipv6 2>/dev/null
ipset destroy`

// clean makes the node a fresh one, with the manifests of the Service in dir.
func clean(t *testing.T) (dir string) {
	t.Helper()
	t.Cleanup(func() { on(t, wipe) })
	dir = t.TempDir()
	if err := testbed.Put(dir, "web.yaml", bed.With(web, testbed.Backends(bed.P1, bed.P2))); err != nil {
		t.Fatal(err)
	}
	// ipvsadm loads IPVS, as kube-proxy does: older kernels have no such sysctls before.
	on(t, "ipvsadm -Ln >/dev/null; sysctl -qw net.ipv4.vs.conntrack=1 net.ipv4.vs.expire_nodest_conn=1 net.ipv4.vs.expire_quiescent_template=1 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
	return dir
}

func on(t *testing.T, script string) string {
	t.Helper()
	out, err := bed.Node.Shell(context.WithoutCancel(t.Context()), script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ask is one way to ask for the Service.
type ask struct {
	from     *testbed.Host
	network  string
	frontend testbed.Frontend
	four     bool
}

func (a ask) String() string {
	return fmt.Sprintf("%s from %s to %s", a.network, a.from.Name, a.frontend.Addr(a.four))
}

// asks returns all ways.
func asks() []ask {
	var out []ask
	for _, f := range web.Frontends() {
		for _, h := range []*testbed.Host{bed.C1, bed.Ext, bed.Node} {
			for _, network := range []string{"tcp", "udp"} {
				out = append(out, ask{h, network, f, true}, ask{h, network, f, false})
			}
		}
	}
	return out
}

// once asks once. A UDP client repeats a datagram without an answer from the
// same port, so that no port may fail for long.
func (a ask) once(ctx context.Context) error {
	s, err := a.from.Dial(ctx, a.network, a.frontend.Addr(a.four), testbed.From{})
	if err != nil {
		return fmt.Errorf("%s: %w", a, err)
	}
	defer s.Close()
	got, err := s.Ask()
	if err != nil && a.network == "udp" {
		got, err = s.Ask()
	}
	if err == nil && !slices.Contains([]string{"p1", "p2"}, got.Name) {
		err = errors.New(got.Name + " answered")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", a, err)
	}
	return nil
}

// everyone checks that all ways lead to the Service, by all of the names.
func everyone(t *testing.T, names ...string) {
	t.Helper()
	for _, a := range asks() {
		if t.Failed() {
			return // all of the rest may take minutes to fail
		}
		seen := map[string]bool{}
		for range 2 * len(names) {
			got, err := a.from.Ask(t.Context(), a.network, a.frontend.Addr(a.four), testbed.From{})
			seen[testbed.Outcome(got, err)] = true
		}
		for _, n := range names {
			if !seen[n] || len(seen) != len(names) {
				t.Errorf("%s: %v, want %q", a, seen, names)
				break
			}
		}
	}
}

// stream asks again and again until it is stopped. stop returns the number of requests
// and the failures.
func stream(ctx context.Context) (stop func() (int, error)) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var mu sync.Mutex
	n := 0
	var errs []error
	for _, a := range asks() {
		wg.Go(func() {
			for ctx.Err() == nil {
				err := a.once(context.WithoutCancel(ctx))
				mu.Lock()
				n++
				if err != nil {
					errs = append(errs, err)
				}
				mu.Unlock()
			}
		})
	}
	return func() (int, error) { cancel(); wg.Wait(); return n, errors.Join(errs...) }
}

// clientPort is one that no client has used yet.
var clientPort uint16 = 20000

// hold opens a session each way, which with UDP is a socket that has asked.
// Their ports are none that the kernel chooses: IPVS cannot tell the answers
// of two connections from one client port to one endpoint by way of different
// frontends, with any proxy.
func hold(t *testing.T) map[ask]*testbed.Session {
	t.Helper()
	out := map[ask]*testbed.Session{}
	for _, a := range asks() {
		clientPort++
		s, err := a.from.Dial(t.Context(), a.network, a.frontend.Addr(a.four), testbed.From{Port: clientPort})
		if err == nil {
			_, err = s.Ask()
		}
		if err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		t.Cleanup(s.Close)
		out[a] = s
	}
	return out
}

func alive(t *testing.T, when string, held map[ask]*testbed.Session) {
	t.Helper()
	for a, s := range held {
		if _, err := s.Ask(); err != nil {
			t.Errorf("%s, %s: %v", when, a, err)
		}
	}
}

// TestHandover takes over from every mode of kube-proxy while connections are
// held and new ones opened all the time: none fails.
func TestHandover(t *testing.T) {
	for _, mode := range []desired.Mode{desired.Direct, desired.Image} {
		for _, from := range []struct {
			mode      string
			leftovers func() string
			endpoints []string // that it leads to
		}{
			{"ipvs", ipvsLeftovers, []string{"p1", "p2"}}, {"iptables", iptablesLeftovers, []string{"p1"}}, {"nftables", nftablesLeftovers, []string{"p1"}},
		} {
			t.Run(fmt.Sprintf("%s to %s", from.mode, mode), func(t *testing.T) {
				dir := clean(t)
				on(t, from.leftovers())
				everyone(t, from.endpoints...)
				if t.Failed() {
					t.Fatal("it does not work before")
				}
				handover(t, mode, dir, from.mode)
			})
		}
	}
}

func handover(t *testing.T, mode desired.Mode, dir, name string) {
	held := hold(t)
	if f, err := kernel.FindKubeProxy(t.Context()); err != nil || !slices.Equal(f.Modes, []string{name}) {
		t.Errorf("found %s, %v", f, err)
	}
	stop := stream(t.Context())
	l := takeOver(t, mode, dir, time.Hour)
	alive(t, "after our rules came", held)
	n, err := kernel.RemoveKubeProxy(t.Context())
	if n == 0 || err != nil {
		t.Errorf("removed %d, %v", n, err)
	}
	alive(t, "after the rules of kube-proxy went", held)
	if n, err := stop(); err != nil {
		t.Errorf("of %d requests meanwhile failed: %v", n, err)
	}
	everyone(t, "p1", "p2")
	alive(t, "after many others", held)

	// A restart in between knows the draining endpoints, and ends them in time.
	l.stop()
	l = takeOver(t, mode, dir, time.Second)
	if name != "ipvs" {
		alive(t, "after a restart", held)
	}
	err = testbed.Await(t.Context(), 10*time.Second, func() error {
		if out := on(t, "ipvsadm -Sn"); strings.Contains(out, "192.168.50.") || strings.Contains(out, "fd50::") {
			return fmt.Errorf("virtual servers of kube-proxy are left:\n%s", out)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := kernel.RemoveKubeProxy(t.Context()); err != nil {
		t.Error(err)
	}
	if f, err := kernel.FindKubeProxy(t.Context()); err != nil || f.Any() {
		t.Errorf("in the end there is %s, %v", f, err)
	}
	if out := on(t, "ip -o addr show dev kube-ipvs0"); strings.Contains(out, "192.168.50.") || strings.Contains(out, "fd50::") {
		t.Errorf("addresses are left:\n%s", out)
	}
	everyone(t, "p1", "p2")
	for a := range held {
		if name == "ipvs" && (mode != desired.Direct || a.network != "tcp" || a.frontend.Name != "ClusterIP") {
			delete(held, a) // its virtual server is gone by now
		}
	}
	alive(t, "in the end", held)
	l.stop()
}
