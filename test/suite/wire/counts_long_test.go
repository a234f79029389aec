package wire

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// TestCountsLong holds many connections at once and uses each now and then, as gRPC does with its
// pings, for longer than IPVS remembers one that is silent. Others that are used some times and
// then closed come and go beside them, as those of HTTP with keep-alive. By each reading lc
// chooses by the true number of open connections of each endpoint. See docs/balancing.md.
func TestCountsLong(t *testing.T) {
	testbed.Long(t, "make test-connections")
	keepTimeouts(t)
	firstPort := uint16(10000)
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := webService()
		s.Number = 11 // no connections of earlier tests are counted
		s.Annotations = "kube-ipvs/scheduler: lc"
		serve(t, d, testbed.Backends(bed.P1, bed.P2, bed.R1), s)
		all := countedWays(s, strings.HasSuffix(t.Name(), "direct"))
		ways, silent := []counted{all[0], all[7]}, all[8] // from a pod and, masqueraded, from outside
		used := make([][]*testbed.Session, len(ways))
		for i := range ways {
			// Of a port that was used before IPVS would remember the endpoint. One slow answer of
			// many is no fault.
			ways[i].with = testbed.From{Port: firstPort, Patience: 30 * time.Second}
			began := time.Now()
			used[i] = ways[i].open(t, *howMany)
			ways[i].exact(t, "all open", used[i])
			t.Logf("%s: %d are open after %s", ways[i].request, *howMany, time.Since(began).Round(time.Second))
		}
		firstPort += 10000
		timeout := shortTimeout(t, d, ways, used)
		readings := pingUntilForgotten(t, ways, used, silent, timeout)
		for i, c := range ways {
			t.Logf("%s: exact in %d readings over %s of silence: %s", c.request, readings, timeout, c.perEndpoint(t))
			c.keepAlive(t, used[i], *howMany/10, timeout)
			t.Logf("%s: after %d connections with keep-alive: %s", c.request, *howMany/10, c.perEndpoint(t))
		}
	})
}

// shortTimeout gives IPVS a timeout of many times what it takes to use all connections once.
func shortTimeout(t *testing.T, d *testbed.Daemon, ways []counted, used [][]*testbed.Session) time.Duration {
	t.Helper()
	began := time.Now()
	for i, c := range ways {
		asked(t, c, used[i])
	}
	timeout := max(testbed.Limit(5*time.Second), 10*time.Since(began)).Round(time.Second)
	if err := d.RestartWith("--ipvs-tcp-timeout", timeout.String()); err != nil {
		t.Fatal(err)
	}
	settled(t, d)
	t.Logf("all are used in a tenth of %s, after which IPVS forgets", timeout)
	return timeout
}

// pingUntilForgotten uses all connections in turn, until IPVS has forgotten some that are silent.
// It returns how often the counts were read, and right.
func pingUntilForgotten(t *testing.T, ways []counted, used [][]*testbed.Session, silent counted, timeout time.Duration) (readings int) {
	t.Helper()
	silent.open(t, 10)
	last := make([]time.Time, len(ways)) // when their connections were begun to be used
	for {
		for i, c := range ways {
			began := time.Now()
			asked(t, c, used[i])
			if readings > 0 {
				remembered(t, last[i], timeout)
			}
			last[i] = began
			if err := c.differs(t, used[i]); err != nil {
				t.Fatalf("%s, after %d readings: %v", c.request, readings, err)
			}
		}
		readings++
		if active, _ := silent.counts(t); active == 0 {
			return readings
		}
	}
}

// remembered skips the test where connections may have been silent since a time for longer than IPVS
// remembers them: the machine has stood still, and nothing can be said of the counts.
func remembered(t *testing.T, since time.Time, timeout time.Duration) {
	t.Helper()
	if silence := time.Since(since); silence > timeout {
		t.Skipf("this machine is too busy: it took %s to use connections that IPVS remembers for %s", silence.Round(time.Millisecond), timeout)
	}
}

// keepAlive opens connections beside those that are open, uses each five times, and has either
// end close half of them.
func (c counted) keepAlive(t *testing.T, open []*testbed.Session, n int, timeout time.Duration) {
	t.Helper()
	c.with.Port = 0
	began := time.Now()
	asked(t, c, open)
	short := c.open(t, n)
	for range 5 {
		asked(t, c, short)
	}
	remembered(t, began, timeout)
	c.exact(t, "with short ones", append(short, open...))
	for i, s := range short {
		if i%2 == 0 {
			s.Close()
		} else if err := s.Leave(); err != nil {
			t.Errorf("%s: %v", c.request, err)
		}
	}
	remembered(t, began, timeout)
	c.exact(t, "short ones closed", open)
}

// exact waits until IPVS counts for each endpoint the active connections that it has.
func (c counted) exact(t *testing.T, when string, open []*testbed.Session) {
	t.Helper()
	err := testbed.Await(t.Context(), 10*time.Second, func() error { return c.differs(t, open) })
	if err != nil {
		t.Fatalf("%s, %s: %v", c.request, when, err)
	}
}

// differs returns for which endpoint IPVS counts other active connections than are open, if any.
func (c counted) differs(t *testing.T, open []*testbed.Session) error {
	t.Helper()
	truth := map[string]int{}
	for _, s := range open {
		truth[s.First.Name]++
	}
	counts := c.countsByEndpoint(t)
	for _, h := range []*testbed.Host{bed.P1, bed.P2, bed.R1} {
		if n := counts[fmt.Sprintf("%s:%d", h.IPv4, testbed.TargetPort)]; n.active != truth[h.Name] {
			return fmt.Errorf("%s has %d connections, and IPVS counts %d", h.Name, truth[h.Name], n.active)
		}
	}
	return nil
}

// perEndpoint returns what IPVS counts for each real server, for the log.
func (c counted) perEndpoint(t *testing.T) string {
	t.Helper()
	var out []string
	for at, n := range c.countsByEndpoint(t) {
		out = append(out, fmt.Sprintf("%s %d active %d inactive", at, n.active, n.inactive))
	}
	return strings.Join(out, ", ")
}
