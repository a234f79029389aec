package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs/test/lib/testbed"
)

// request is a line in a table: so many requests, one after the other, each
// over a connection or from a port of its own.
type request struct {
	from    *testbed.Host
	network string // tcp if empty
	what    string // kind of the address
	to      string
	times   int           // 12 if zero
	want    []string      // the endpoints that must answer: each of them, equally often, and no other
	one     bool          // only one of want must answer, always the same
	source  *testbed.Host // the host whose address the endpoints must see
}

// result is the outcome of a request.
type result struct {
	outcomes map[string]int
	sources  map[netip.Addr]bool
}

// ask sends a request as often as it says, or until one is not answered: that
// is one too many, and waiting for more takes long.
func (d *demo) ask(ctx context.Context, r request) result {
	out := result{map[string]int{}, map[netip.Addr]bool{}}
	for range r.times {
		a, err := d.once(ctx, r.from, r.network, r.to)
		out.outcomes[testbed.Outcome(a, err)]++
		if err != nil {
			break
		}
		out.sources[a.Peer.Addr()] = true
	}
	return out
}

// once asks once, over a connection of its own.
func (d *demo) once(ctx context.Context, from *testbed.Host, network, to string) (testbed.Answer, error) {
	s, err := from.Dial(ctx, network, address(to), d.source())
	if err != nil {
		return testbed.Answer{}, err
	}
	defer s.Close()
	return s.Ask()
}

// source returns a port that no client has had before. IPVS sends packets from a port
// that it remembers to the earlier endpoint, and the shares of the endpoints would not
// come out even.
func (d *demo) source() testbed.From {
	d.port = max(firstPort, d.port+1)
	return testbed.From{Port: d.port}
}

// firstPort is below the ports that the kernel and node ports take.
const firstPort = 20000

// answered lists how often each endpoint answered, such as "web/p1 6  web/p2 6".
func (r result) answered() string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(r.outcomes)) {
		out = append(out, fmt.Sprintf("%s %d", name, r.outcomes[name]))
	}
	return strings.Join(out, "  ")
}

func (r result) seenAs() string {
	var out []string
	for _, a := range slices.SortedFunc(maps.Keys(r.sources), netip.Addr.Compare) {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}

func (r result) String() string {
	if len(r.sources) == 0 {
		return r.answered()
	}
	return r.answered() + "; client seen as " + r.seenAs()
}

// expected describes the expected outcome of the request.
func (r request) expected() string {
	how := fmt.Sprintf("%d answers, equally many of %s", r.times, strings.Join(r.want, " and "))
	if r.one {
		how = fmt.Sprintf("%d answers, all of one of %s", r.times, strings.Join(r.want, " or "))
	}
	return how + "; client seen as " + r.source.IP(address(r.to).Addr()).String()
}

// as reports whether r is the expected outcome of a request.
func (r result) as(q request) bool {
	answers, least, most := 0, q.times, 0
	for _, name := range q.want {
		n := r.outcomes[name]
		answers += n
		if n > 0 || !q.one {
			least, most = min(least, n), max(most, n)
		}
	}
	source := q.source.IP(address(q.to).Addr())
	return answers == q.times && len(r.sources) == 1 && r.sources[source] && least > 0 &&
		most-least <= 1 && (!q.one || most == q.times)
}

// requests sends all, shows the endpoints that answered, and claims that all outcomes
// were as expected.
func (d *demo) requests(ctx context.Context, list []request, claims ...string) error {
	rows := [][]string{{"from", "to", "", "answered", "seen as"}}
	var wrong error
	for _, q := range list {
		if q.network == "" {
			q.network = "tcp"
		}
		if q.times == 0 {
			q.times = 12
		}
		r := d.ask(ctx, q)
		rows = append(rows, []string{d.title(q.from), q.what, q.to, r.answered(), r.seenAs()})
		if !r.as(q) {
			wrong = &falsehood{fmt.Sprintf("%s to %s from %s", q.network, q.to, q.from.Name), q.expected(), r.String()}
			break
		}
	}
	d.page.table(rows)
	if wrong != nil {
		return wrong
	}
	for _, c := range claims {
		d.page.ok("%s", c)
	}
	return nil
}

// title describes a host.
func (d *demo) title(h *testbed.Host) string {
	switch h {
	case d.bed.Node:
		return "node itself"
	case d.bed.Ext:
		return "ext (outside)"
	}
	return h.Name + " (pod)"
}

// hold opens a connection that name answers.
func (d *demo) hold(ctx context.Context, from *testbed.Host, to, name string) (*testbed.Session, error) {
	for range 10 {
		s, err := from.Dial(ctx, "tcp", address(to), d.source())
		if err != nil {
			return nil, err
		}
		if s.First.Name == name {
			return s, nil
		}
		s.Reset()
	}
	return nil, &falsehood{"a connection to " + to, "some answered by " + name, "ten answered by others"}
}
