package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// Ask is a request that is made some times over, each time by a new connection
// or socket.
type Ask struct {
	From    *testbed.Host
	Network string // tcp, udp, sctp, or ping
	To      netip.AddrPort
	Target  string       // the kind of To, in the words of the report, such as "node port"
	With    testbed.From // the client's address, if it binds one
}

// noAnswer is the outcome of a request that no endpoint answers.
const noAnswer = "no answer"

const (
	// patience lets a SYN be sent twice: under load the first may be late.
	patience = 2500 * time.Millisecond
	// silence is the patience with an endpoint that has not answered the first few.
	silence = 1300 * time.Millisecond
	// few tries are enough where every endpoint has answered, and some where none
	// ever does; enough show each of two endpoints that are chosen by chance, all
	// but one time in millions.
	few, some, enough = 3, 8, 27
	// atOnce is the number of requests side by side. Requests that last longer than
	// unhurried wait for an answer that does not come: some more of them do no harm.
	atOnce    = 24
	waiting   = 72
	unhurried = 1200 * time.Millisecond
)

// String names the request in the report.
func (a Ask) String() string {
	from := a.From.Name
	switch {
	case a.With.Addr == a.From.IP(a.To.Addr()):
		from += ", bound to its address,"
	case a.With.Addr.IsValid():
		from += " as " + a.With.Addr.String()
	}
	return fmt.Sprintf("%s → %s, %s", from, a.Target, a.way())
}

// way says protocol and family, which the report merges where they agree.
func (a Ask) way() string {
	return strings.ToUpper(a.Network) + " " + a.family()
}

func (a Ask) family() string {
	if a.To.Addr().Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// outcome makes the request until more tries would show nothing new, and returns the
// observations: all of them, if they differ.
func (w *World) outcome(ctx context.Context, a Ask) string {
	if a.Network == "ping" {
		return w.ping(ctx, a)
	}
	a.With.Why, a.With.Patience = true, cmp.Or(a.With.Patience, patience)
	seen := sightings{}
	for tries, next := 0, few; next > 0 && ctx.Err() == nil; next = seen.next(tries, w.endpointsOf(a.To)) {
		w.several(ctx, a, next, seen)
		tries += next
		if len(seen) == 1 && seen["lost"] != nil {
			a.With.Patience = min(a.With.Patience, silence)
		}
	}
	return seen.String()
}

// several makes the request some times side by side, since a request without an
// answer waits long.
func (w *World) several(ctx context.Context, a Ask, times int, seen sightings) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range times {
		wg.Go(func() {
			what, who := w.once(ctx, a)
			mu.Lock()
			defer mu.Unlock()
			seen.note(what, who)
		})
	}
	wg.Wait()
}

// once makes the request, and returns its outcome and the endpoint that answered.
func (w *World) once(ctx context.Context, a Ask) (what, who string) {
	answer, err := a.From.Ask(ctx, a.Network, a.To, a.With)
	what = testbed.Outcome(answer, err)
	switch {
	case err == nil:
		who, what = answer.Name, w.sourceName(a, answer.Peer.Addr())
	case what == "refused" && a.Network == "tcp":
		what = "RST"
	}
	return what, who
}

// sightings are the outcomes of a request, and the endpoints that answered.
type sightings map[string]map[string]bool

func (s sightings) note(what, who string) {
	if s[what] == nil {
		s[what] = map[string]bool{}
	}
	s[what][who] = true
}

// next says how many more tries may show something new: none if every endpoint
// has answered, and few if none ever does.
func (s sightings) next(tries int, endpoints []string) int {
	answered, failed := map[string]bool{}, false
	for _, names := range s {
		for name := range names {
			answered[name] = name != ""
			failed = failed || name == ""
		}
	}
	delete(answered, "")
	missing := slices.ContainsFunc(endpoints, func(name string) bool { return !answered[name] })
	switch {
	case len(answered) == 0 && len(s) == 1 && tries >= some,
		!failed && len(endpoints) > 0 && !missing,
		tries >= enough:
		return 0
	}
	if failed && len(answered) > 0 {
		return enough - tries // a lost request waits long: all at once
	}
	return min(some, enough-tries)
}

func (s sightings) String() string {
	var out []string
	for what, who := range s {
		var names []string
		for name := range who {
			if name != "" {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		if len(names) > 0 {
			what = strings.Join(names, " and ") + ", " + what
		}
		out = append(out, what)
	}
	slices.Sort(out)
	return strings.Join(out, "; or ")
}

func (w *World) ping(ctx context.Context, a Ask) string {
	var out []byte
	err := a.From.Do(func() error {
		var err error
		out, err = exec.CommandContext(ctx, "ping", "-n", "-c", "1", "-W", "2", a.To.Addr().String()).CombinedOutput()
		return err
	})
	switch text := string(out); {
	case err == nil:
		return "answered"
	case strings.Contains(text, "nreachable"):
		return "ICMP unreachable"
	case strings.Contains(text, "Time to live exceeded"), strings.Contains(text, "Time exceeded"):
		return "ICMP time exceeded"
	case strings.Contains(text, "100% packet loss"):
		return "lost"
	}
	return strings.TrimSpace(string(out))
}

// outcomes makes all requests side by side, and returns the outcomes in their order.
// It repeats a request that was lost at some times and answered at others: a busy
// machine loses a packet now and then, and a fault does not go away.
func (w *World) outcomes(ctx context.Context, asks []Ask) []string {
	out := w.sideBySide(ctx, asks)
	var again []Ask
	var whose []int
	for i, seen := range out {
		if strings.Contains(seen, "; or ") && strings.Contains(seen, "lost") {
			again, whose = append(again, asks[i]), append(whose, i)
		}
	}
	for i, seen := range w.sideBySide(ctx, again) {
		out[whose[i]] = seen
	}
	return out
}

func (w *World) sideBySide(ctx context.Context, asks []Ask) []string {
	out := make([]string, len(asks))
	var wg sync.WaitGroup
	slots, all := make(chan struct{}, atOnce), make(chan struct{}, atOnce+waiting)
	for i, a := range asks {
		all <- struct{}{}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-all }()
			leave := sync.OnceFunc(func() { <-slots })
			defer leave()
			defer time.AfterFunc(unhurried, leave).Stop()
			out[i] = w.outcome(ctx, a)
		})
	}
	wg.Wait()
	return out
}

// everyWay returns a request over each of the networks and families.
func everyWay(from *testbed.Host, f testbed.Frontend, networks ...string) []Ask {
	var out []Ask
	for _, network := range networks {
		for _, four := range []bool{true, false} {
			out = append(out, Ask{From: from, Network: network, To: f.Addr(four), Target: f.Name})
		}
	}
	return out
}

// allAsks returns requests of all sorts of clients to all frontends of a
// Service, over TCP and UDP.
func (s *Scene) allAsks(v testbed.Service) []Ask {
	var out []Ask
	for _, f := range v.Outside() {
		for _, from := range []*testbed.Host{s.C1, s.RC, s.Node, s.Node2, s.Ext, s.Far} {
			out = append(out, everyWay(from, f, "tcp", "udp")...)
		}
	}
	for _, from := range []*testbed.Host{s.C1, s.RC, s.Node, s.Node2, s.Ext} {
		out = append(out, everyWay(from, v.ClusterIP(), "tcp", "udp")...)
	}
	return out
}
