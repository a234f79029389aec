package wire

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// talker is a client that sends over one UDP socket, so that for conntrack and
// IPVS all its datagrams are of one flow.
type talker struct {
	request
	*testbed.Session
}

// talkers opens one for each of the requests that is UDP.
func talkers(t *testing.T, rs []request) []talker {
	t.Helper()
	var out []talker
	for _, r := range rs {
		if r.network != "udp" {
			continue
		}
		r.with.Patience = fast
		s, err := r.from.Dial(t.Context(), "udp", r.to, r.with)
		if err != nil {
			t.Fatalf("%s: %v", r, err)
		}
		t.Cleanup(s.Close)
		out = append(out, talker{r, s})
	}
	return out
}

// say sends one datagram and returns the outcome.
func (c talker) say() string {
	got := testbed.Outcome(c.Ask())
	if got == "forbidden" && c.nodeUDP() {
		return "refused"
	}
	return got
}

// begin sends until an endpoint answers, and returns that one: on a busy machine
// an answer may come too late.
func (c talker) begin(t *testing.T) string {
	t.Helper()
	var got string
	for range tolerated {
		if got = c.say(); hostOf(got) != nil {
			break
		}
	}
	return got
}

// traces returns the entries of conntrack and IPVS for the flow on the node.
func (c talker) traces(t *testing.T) string {
	t.Helper()
	return on(t, bed.Node, "{ conntrack -L; conntrack -L -f ipv6; ipvsadm -Lnc; } 2>/dev/null | grep -w "+c.Port()+" || true")
}

// A change may cost a flow some datagrams, or all of a moment: IPVS ends the old
// connection by a timer of its own, and until then a node's own client, which
// is told at once, is refused as often as it asks.
const (
	tolerated = 4
	moment    = 100 * time.Millisecond
)

// moves sends until want goes on answering. No more than the tolerated number,
// or those of a moment, may get another outcome; those in before may have been
// on their way while the change was made. A lost datagram counts, but not its time, which
// is the client's patience: before Linux 5.9 a client that has lost one is refused after that
// until IPVS ends the connection.
func (c talker) moves(t *testing.T, want string, before ...string) {
	t.Helper()
	const steady = 4
	var said []string
	spent, lost, row := 0, 0, 0
	var wrong time.Duration
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline) && row < steady; {
		began := time.Now()
		got := c.say()
		said = append(said, got)
		switch row++; {
		case got == want:
		case slices.Contains(before, got) && !slices.Contains(said, want):
			row = 0
		default:
			row = 0
			spent++
			if got == "lost" {
				lost++
			} else {
				wrong += time.Since(began)
			}
		}
	}
	if lost > tolerated || spent > tolerated && wrong > moment || row < steady {
		t.Errorf("%s: %s, of which %s not lost and wrong; want %s after at most %d others, or %s of them",
			c.request, brief(said), wrong.Round(time.Millisecond), want, tolerated, moment)
	}
}

// brief counts lines that occur more than once in a row.
func brief(said []string) string {
	var out strings.Builder
	for len(said) > 0 {
		n := 1
		for n < len(said) && said[n] == said[0] {
			n++
		}
		fmt.Fprintf(&out, "%d %s, ", n, said[0])
		if said = said[n:]; out.Len() > 200 {
			return out.String() + "..."
		}
	}
	return strings.TrimSuffix(out.String(), ", ")
}

func udpService() testbed.Service {
	return testbed.Service{Name: "dns", Number: 1, Type: "LoadBalancer", External: true, Protocols: []string{"UDP"}}
}

// together lets all talkers do something at the same time.
func together(cs []talker, do func(talker)) {
	var wg sync.WaitGroup
	for _, c := range cs {
		wg.Go(func() { do(c) })
	}
	wg.Wait()
}

// TestUDPMoves follows senders that never pause while their endpoint is
// replaced, goes, and another comes.
func TestUDPMoves(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		unlimitICMP(t)
		s := udpService()
		serve(t, d, testbed.Backends(bed.P1), s)
		cs := talkers(t, requests(s.Frontends(), bed.C1, bed.Node, bed.Ext))
		// With direct an endpoint that comes back within 30 seconds may lose a client
		// that it has still answered when it went: see docs/limits.md.
		last := bed.P1
		if strings.HasSuffix(t.Name(), "direct") {
			last = bed.P2
		}
		before := "p1"
		for _, step := range []struct {
			backends []testbed.Backend
			want     string
		}{
			{testbed.Backends(bed.P1), "p1"},
			{testbed.Backends(bed.R1), "r1"},
			{nil, "refused"},
			{testbed.Backends(last), last.Name},
		} {
			put(t, d, "dns.yaml", bed.With(s, step.backends))
			together(cs, func(c talker) { c.moves(t, step.want, before) })
			before = step.want
		}
	})
}

// TestUDPOlder checks senders that were there before the Service: conntrack
// remembers their flows as ones without NAT.
func TestUDPOlder(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		settled(t, d)
		s := udpService()
		cs := talkers(t, requests(s.Frontends(), bed.C1, bed.Node, bed.Ext))
		together(cs, func(c talker) {
			for range 2 {
				if got := c.say(); got == "p1" {
					t.Errorf("%s: answered before there is a Service", c.request)
				}
			}
		})
		serve(t, d, testbed.Backends(bed.P1), s)
		for _, c := range cs {
			// An error of an earlier datagram may be waiting at the socket.
			c.moves(t, "p1")
		}
	})
}

// TestUDPLeaves checks that flows stay with a terminating endpoint, which no new
// ones come to, as long as it serves.
func TestUDPLeaves(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := udpService()
		serve(t, d, testbed.Backends(bed.P1), s)
		rs := requests(s.Frontends(), bed.C1, bed.Node, bed.Ext)
		rs = slices.DeleteFunc(rs, func(r request) bool { return r.network != "udp" })
		cs := talkers(t, rs)
		together(cs, func(c talker) { c.moves(t, "p1") })
		serve(t, d, []testbed.Backend{{Host: bed.P1, State: "terminating"}, {Host: bed.P2}}, s)
		answered(t, rs, anyone, "p2")
		for range 3 {
			together(cs, func(c talker) {
				if got := c.say(); got != "p1" {
					t.Errorf("%s: %s, while p1 serves still", c.request, got)
				}
			})
		}
		serve(t, d, []testbed.Backend{{Host: bed.P1, State: "dead"}, {Host: bed.P2}}, s)
		together(cs, func(c talker) { c.moves(t, "p2", "p1") })
	})
}

// TestUDPStays checks that a flow keeps its endpoint while others come and go
// and while kube-ipvs is started anew.
func TestUDPStays(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := udpService()
		serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
		cs := talkers(t, requests(s.Frontends(), bed.C1, bed.Ext))
		first := make([]string, len(cs))
		for i, c := range cs {
			first[i] = c.begin(t)
		}
		stays := func(when string) {
			t.Helper()
			for i, c := range cs {
				if got := c.say(); got != first[i] {
					t.Errorf("%s: %s answers %s, %s did before", c.request, got, when, first[i])
				}
			}
		}
		serve(t, d, testbed.Backends(bed.P1, bed.P2, bed.R1), s)
		stays("after another endpoint has come")
		serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
		stays("after it has gone")
		if err := d.Restart(); err != nil {
			t.Fatal(err)
		}
		put(t, d, "other.yaml", bed.With(testbed.Service{Name: "other", Number: 2}, testbed.Backends(bed.P1)))
		settled(t, d)
		stays("after a restart")
		if !slices.Contains(first, "p1") || !slices.Contains(first, "r1") {
			t.Errorf("all flows have one endpoint: %s", fmt.Sprint(first))
		}
	})
}

// TestUDPKeepsFlowsOfOthers changes one of two Services with the same endpoints in
// all ways that choose others of these: no flow of either moves, while the endpoints
// answer. When one stops to answer for one Service, only the flows of that move.
func TestUDPKeepsFlowsOfOthers(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		a, b := udpService(), udpService()
		b.Name, b.Number = "dns2", 2
		all := []testbed.Backend{zoned(bed.P1, "here"), zoned(bed.R1, "here")}
		serve(t, d, all, a, b)
		of := map[string][]talker{}
		first := map[talker]string{}
		for _, s := range []testbed.Service{a, b} {
			for range 2 { // one for each endpoint
				of[s.Name] = append(of[s.Name], talkers(t, requests(s.Frontends(), bed.C1, bed.Ext))...)
			}
		}
		for _, cs := range of {
			for _, c := range cs {
				first[c] = c.begin(t)
			}
		}
		stays := func(when string, cs []talker) {
			t.Helper()
			for _, c := range cs {
				if got := c.say(); got != first[c] {
					t.Errorf("%s: %s answers %s, %s did before; the node has:\n%s", c.request, got, when, first[c], c.traces(t))
				}
			}
		}
		change := func(when string, backends []testbed.Backend, spec ...string) {
			t.Helper()
			a.Spec = spec
			serve(t, d, backends, a)
			stays("when "+when, of[a.Name])
			stays("when for another "+when, of[b.Name])
		}
		change("the hints are of other zones in part", []testbed.Backend{zoned(bed.P1, "there"), zoned(bed.R1, "here")})
		change("there are policies Local", all, "internalTrafficPolicy: Local", "externalTrafficPolicy: Local")
		change("there are none any more", all)
		change("an endpoint is terminating", []testbed.Backend{{Host: bed.P1, State: "terminating"}, {Host: bed.R1}})
		serve(t, d, []testbed.Backend{{Host: bed.P1, State: "dead"}, {Host: bed.R1}}, a)
		for _, c := range of[a.Name] {
			c.moves(t, "r1", "p1")
			first[c] = "r1"
		}
		stays("when an endpoint of another has gone", of[b.Name])
		withdraw(t, d, a)
		stays("when another Service has gone", of[b.Name])
		if !slices.Contains(slices.Collect(maps.Values(first)), "p1") {
			t.Error("all flows had one endpoint")
		}
	}, "--zone", "here")
}
