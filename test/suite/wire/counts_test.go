package wire

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// counted is a way to a Service, and the virtual server that counts its connections.
type counted struct {
	request
	server string
	all    bool // IPVS sees all packets
}

// countedWays returns ways from a pod, the node and outside to each kind of frontend.
func countedWays(s testbed.Service, direct bool) []counted {
	cluster, node, lb := s.ClusterIP().V4, s.NodePort().V4, s.LoadBalancer().V4
	at := fmt.Sprintf("242.96.0.%d:80", 100+s.Number)
	if direct {
		at = cluster.String()
	}
	var out []counted
	for _, from := range []*testbed.Host{bed.C1, bed.Node, bed.Ext} {
		out = append(out, counted{request{from: from, network: "tcp", to: cluster}, at, direct},
			counted{request{from: from, network: "tcp", to: node}, fmt.Sprintf("252.0.0.1:%d", 30000+s.Number), false},
			counted{request{from: from, network: "tcp", to: lb}, fmt.Sprintf("240.168.50.%d:80", 200+s.Number), false})
	}
	return out
}

// counts returns the connections of a virtual server, as ipvsadm shows them.
func (c counted) counts(t *testing.T) (active, inactive int) {
	t.Helper()
	for _, n := range c.countsByEndpoint(t) {
		active, inactive = active+n.active, inactive+n.inactive
	}
	return active, inactive
}

// count is what IPVS counts for a real server.
type count struct{ active, inactive int }

// countsByEndpoint returns the connections of each real server, by its address and port.
func (c counted) countsByEndpoint(t *testing.T) map[string]count {
	t.Helper()
	out := map[string]count{}
	for line := range strings.Lines(on(t, bed.Node, "ipvsadm -Ln -t "+c.server)) {
		if f := strings.Fields(line); len(f) == 6 && f[0] == "->" && f[1] != "RemoteAddress:Port" {
			var n count
			if _, err := fmt.Sscan(f[4]+" "+f[5], &n.active, &n.inactive); err != nil {
				t.Fatal(err)
			}
			out[f[1]] = n
		}
	}
	return out
}

// becomes waits until IPVS counts so many active connections, and no more than so many inactive
// ones: of these some may be gone, also of earlier ways.
func (c counted) becomes(t *testing.T, when string, active, inactive int) {
	t.Helper()
	err := testbed.Await(t.Context(), 15*time.Second, func() error {
		if a, i := c.counts(t); a != active || i > inactive {
			return fmt.Errorf("%d active and %d inactive, want %d and %d at most", a, i, active, inactive)
		}
		return nil
	})
	if err != nil {
		t.Errorf("%s, %s: %v", c.request, when, err)
	}
}

// many is how many connections each way holds.
const many = 200

// TestCounts compares the connections that IPVS counts, by which lc and its kin choose, with
// the truth. It is exact for connections that are open, and in time for those that either end
// closes in order. A client's reset is seen with direct alone: with image it is only told how
// long it counts. See docs/balancing.md.
func TestCounts(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := webService()
		serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
		for _, c := range countedWays(s, strings.HasSuffix(t.Name(), "direct")) {
			active, inactive := c.counts(t) // of earlier ways
			open := c.open(t, many)
			c.becomes(t, "all open", active+many, inactive)
			asked(t, c, open)
			c.becomes(t, "all used again", active+many, inactive)
			for _, session := range open[:50] {
				session.Close()
			}
			c.becomes(t, "50 closed by the client", active+many-50, inactive+50)
			for _, session := range open[50:100] {
				if err := session.Leave(); err != nil {
					t.Errorf("%s: %v", c.request, err)
				}
			}
			c.becomes(t, "50 closed by the server", active+many-100, inactive+100)
			t.Logf("%s: after both closes: %s", c.request, c.states(t))
			for _, session := range open[100:150] {
				session.Reset()
			}
			if c.all {
				c.becomes(t, "50 reset by the client", active+many-150, inactive+150)
			}
			a, i := c.counts(t)
			t.Logf("%s: after 50 resets of 100 that were open: %d active, %d inactive: %s", c.request, a-active, i-inactive, c.states(t))
		}
	})
}

// open opens connections, from successive ports if the request names one.
func (c counted) open(t *testing.T, n int) (out []*testbed.Session) {
	t.Helper()
	with := c.with
	for range n {
		s, err := c.from.Dial(t.Context(), c.network, c.to, with)
		if err != nil {
			t.Fatalf("%s: connection %d of %d: %v", c.request, len(out)+1, n, err)
		}
		t.Cleanup(s.Close)
		out = append(out, s)
		if with.Port > 0 {
			with.Port++
		}
	}
	return out
}

// asked uses connections again.
func asked(t *testing.T, c counted, sessions []*testbed.Session) {
	t.Helper()
	for _, err := range useAll(sessions) {
		if err != nil {
			t.Errorf("%s: %v", c.request, err)
		}
	}
}

// useAll uses connections again, some 64 at once: one by one, each costs the lab several changes
// between processes, and one that is lost as long as its patience. It returns the error of each.
func useAll(sessions []*testbed.Session) []error {
	out := make([]error, len(sessions))
	var all sync.WaitGroup
	const atOnce = 64
	for first := range atOnce {
		all.Go(func() {
			for i := first; i < len(sessions); i += atOnce {
				_, out[i] = sessions[i].Ask()
			}
		})
	}
	all.Wait()
	return out
}

// states returns how many entries of each state IPVS has for the virtual server, and the
// longest time until one goes.
func (c counted) states(t *testing.T) string {
	t.Helper()
	return on(t, bed.Node, "ipvsadm -Lnc | awk '$5 == \""+c.server+"\" { n[$3]++; if ($2 > m[$3]) m[$3] = $2 } END { for (s in n) printf \"%d %s up to %s; \", n[s], s, m[s] }'")
}

// keepTimeouts gives IPVS its timeouts back after the test.
func keepTimeouts(t *testing.T) {
	t.Helper()
	before := strings.Fields(strings.Split(on(t, bed.Node, "ipvsadm -l --timeout"), ":")[1])
	undo(t, bed.Node, "ipvsadm --set "+strings.Join(before, " "))
}

// TestCountsIdle lets connections idle for longer than IPVS remembers them: it counts them no
// more. Those that are used now and then are counted as long as they are open.
func TestCountsIdle(t *testing.T) {
	const busy = 10
	keepTimeouts(t)
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := webService()
		serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
		ways := countedWays(s, strings.HasSuffix(t.Name(), "direct"))
		was, want := map[string]int{}, map[string]int{}
		for _, c := range ways {
			was[c.server], _ = c.counts(t)
		}
		used := make([][]*testbed.Session, len(ways))
		for i, c := range ways {
			used[i] = c.open(t, 2*busy)[:busy]
			want[c.server] += busy
		}
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			for i, c := range ways {
				asked(t, c, used[i])
			}
			for _, c := range ways {
				if now, _ := c.counts(t); now-was[c.server] < want[c.server] {
					t.Fatalf("%s: IPVS counts %d connections, and %d are used", c.server, now-was[c.server], want[c.server])
				}
			}
		}
		for _, c := range ways {
			if now, _ := c.counts(t); now-was[c.server] != want[c.server] {
				t.Errorf("%s: IPVS counts %d connections, want the %d that are used", c.server, now-was[c.server], want[c.server])
			}
		}
	}, "--ipvs-tcp-timeout", "5s")
}
