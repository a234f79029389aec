package wire

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// request is one way to ask for a Service.
type request struct {
	from    *testbed.Host
	network string
	to      netip.AddrPort
	with    testbed.From
}

func (r request) String() string {
	return fmt.Sprintf("%s from %s to %s", r.network, r.from.Name, r.to)
}

var (
	networks = []string{"tcp", "udp"}
	families = []bool{true, false} // IPv4, IPv6
)

// requests returns those of every client to every frontend, over TCP and UDP,
// in both families.
func requests(frontends []testbed.Frontend, from ...*testbed.Host) []request {
	var out []request
	for _, f := range frontends {
		for _, h := range from {
			for _, network := range networks {
				for _, four := range families {
					out = append(out, request{from: h, network: network, to: f.Addr(four)})
				}
			}
		}
	}
	return out
}

// anyone is for answers whose source does not matter.
var anyone *testbed.Host

// answered checks which endpoints answer the requests, all of them in turn, and the
// sources that these saw.
func answered(t *testing.T, rs []request, source *testbed.Host, names ...string) {
	t.Helper()
	slices.Sort(names)
	for _, r := range rs {
		seen := map[string]bool{}
		for range 2 * len(names) {
			a, err := r.from.Ask(t.Context(), r.network, r.to, r.with)
			seen[testbed.Outcome(a, err)] = true
			if err != nil {
				break // to wait for more of it tells nothing
			}
			if source != anyone && a.Peer.Addr() != source.IP(r.to.Addr()) {
				t.Errorf("%s: %s saw %s, want %s", r, a.Name, a.Peer.Addr(), source.Name)
			}
		}
		if got := sorted(seen); !slices.Equal(got, names) {
			t.Errorf("%s: %q, want %q", r, got, names)
		}
	}
}

func sorted(set map[string]bool) []string {
	var out []string
	for s := range set {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// fast is how soon an answer comes, as a rule.
const fast = 200 * time.Millisecond

// atOnce is how soon a refusal must come, on a busy machine, too: a client that is not
// told sends its SYN again after a second. On a slow one, where the refusal by a closed
// port takes about as long, it is a few times that.
var atOnce = sync.OnceValue(func() time.Duration {
	var slowest time.Duration
	for range 5 {
		start := time.Now()
		_, _ = bed.C1.Ask(context.Background(), "tcp", netip.AddrPortFrom(bed.P1.IPv4, 1), testbed.From{})
		slowest = max(slowest, time.Since(start))
	}
	return max(900*time.Millisecond, 4*slowest)
})

// nodeUDP reports whether the client is the node itself with UDP. To it the
// kernel tells by EPERM that a packet was dropped or rejected on its way out.
func (r request) nodeUDP() bool { return r.from == bed.Node && r.network == "udp" }

// refused checks that each request is refused times times, at once.
func refused(t *testing.T, times int, rs ...request) {
	t.Helper()
	for _, r := range rs {
		for i := range times {
			start := time.Now()
			got := testbed.Outcome(r.from.Ask(t.Context(), r.network, r.to, r.with))
			if got == "forbidden" && r.nodeUDP() {
				got = "refused"
			}
			if took := time.Since(start); got != "refused" || took > atOnce() {
				t.Errorf("%s, %d: %s after %s, want refused within %s", r, i, got, took, atOnce())
				break
			}
		}
	}
}

// lost checks that nothing answers the requests, all at the same time.
func lost(t *testing.T, rs ...request) {
	t.Helper()
	var wg sync.WaitGroup
	for _, r := range rs {
		wg.Go(func() {
			with := r.with
			with.Patience = 2 * fast
			got := testbed.Outcome(r.from.Ask(t.Context(), r.network, r.to, with))
			if got == "forbidden" && r.nodeUDP() {
				return
			}
			if got != "lost" {
				t.Errorf("%s: %s, want lost", r, got)
			}
		})
	}
	wg.Wait()
}

// watch records on the links of hosts until the returned function checks that
// no packet came whose receiver or, in an answer, sender is one of the addresses.
func watch(t *testing.T, h *testbed.Host, addrs ...netip.Addr) (quiet func()) {
	t.Helper()
	c, err := h.Capture("eth0")
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		defer c.Close()
		for _, p := range c.Packets(func(p testbed.Packet) bool {
			return p.To.Port() != 0 && (slices.Contains(addrs, p.To.Addr()) || slices.Contains(addrs, p.From.Addr()))
		}) {
			t.Errorf("%s saw %s", h.Name, p)
		}
	}
}

// inModes runs f with a daemon of each mode, or of one with LAB_VARIANTS=one.
func inModes(t *testing.T, f func(t *testing.T, d *testbed.Daemon), flags ...string) {
	variants := testbed.Variants(t, true)
	for _, v := range variants[:min(2, len(variants))] {
		t.Run(v.ClusterIPServers, func(t *testing.T) {
			f(t, start(t, append([]string{"--cluster-ip-servers", v.ClusterIPServers, "--vip-binding", v.VIPBinding}, flags...)...))
		})
	}
}

// serve publishes Services that have the same endpoints, or changes them, and
// waits until they are programmed.
func serve(t *testing.T, d *testbed.Daemon, backends []testbed.Backend, services ...testbed.Service) {
	t.Helper()
	for _, s := range services {
		put(t, d, s.Name+".yaml", bed.With(s, backends))
	}
	settled(t, d)
}

// withdraw deletes a Service and waits until it is gone.
func withdraw(t *testing.T, d *testbed.Daemon, s testbed.Service) {
	t.Helper()
	if err := d.Remove(s.Name + ".yaml"); err != nil {
		t.Fatal(err)
	}
	settled(t, d)
}

func settled(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	if err := d.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// on runs a script on a host and returns its output without surrounding space.
func on(t *testing.T, h *testbed.Host, script string) string {
	t.Helper()
	out, err := h.Shell(t.Context(), script)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// undo runs a script on a host after the test.
func undo(t *testing.T, h *testbed.Host, script string) {
	t.Cleanup(func() {
		if _, err := h.Shell(context.WithoutCancel(t.Context()), script); err != nil {
			t.Error(err)
		}
	})
}
