package wire

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// weight waits until ipvsadm shows p1 behind the Service's IPv4 ClusterIP with
// a weight; -1 waits until it is not there any more.
func weight(t *testing.T, limit time.Duration, s testbed.Service, want int) {
	t.Helper()
	line := regexp.MustCompile(`10\.244\.0\.11:8080 +\S+ +(\d+) `)
	err := testbed.Await(t.Context(), limit, func() error {
		out := on(t, bed.Node, fmt.Sprintf("ipvsadm -Ln -t %s", s.ClusterIP().V4))
		got := "-1"
		if m := line.FindStringSubmatch(out); m != nil {
			got = m[1]
		}
		if got != fmt.Sprint(want) {
			return fmt.Errorf("weight %s, want %d:\n%s", got, want, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDrain follows a removed endpoint of a direct ClusterIP: it keeps its
// connection at weight 0, comes back to life, and goes with its last connection.
func TestDrain(t *testing.T) {
	d := start(t, "--cluster-ip-servers", "direct")
	s := webService()
	rs := tcpOnly(requests([]testbed.Frontend{s.ClusterIP()}, bed.C1))
	serve(t, d, testbed.Backends(bed.P1, bed.P2), s)
	hs := hold(t, rs)
	weight(t, time.Second, s, 1)
	serve(t, d, testbed.Backends(bed.P2), s)
	weight(t, time.Second, s, 0)
	visited(t, rs, "p2")
	alive(t, "while its endpoint drains", hs)

	serve(t, d, testbed.Backends(bed.P1, bed.P2), s)
	weight(t, time.Second, s, 1)
	visited(t, rs, "p1", "p2")
	alive(t, "after its endpoint is back", hs)

	// A restart knows from the weight that the endpoint drains.
	serve(t, d, testbed.Backends(bed.P2), s)
	if err := d.Restart(); err != nil {
		t.Fatal(err)
	}
	settled(t, d)
	weight(t, time.Second, s, 0)
	alive(t, "after a restart", hs)

	for _, h := range hs {
		h.Reset()
	}
	// Older kernels (seen on 4.18) give the real server the connections of earlier tests back
	// (ip_vs_trash_get_dest), and forgets those two minutes after their end.
	weight(t, 130*time.Second, s, -1)
}

// visited checks which endpoints answer, by connections that end with a reset: IPVS
// counts those for 10 seconds more, and others for 2 minutes.
func visited(t *testing.T, rs []request, names ...string) {
	t.Helper()
	for _, r := range rs {
		seen := map[string]bool{}
		for range 2 * len(names) {
			s, err := r.from.Dial(t.Context(), r.network, r.to, r.with)
			if err != nil {
				t.Fatalf("%s: %v", r, err)
			}
			seen[s.First.Name] = true
			s.Reset()
		}
		if got := sorted(seen); !slices.Equal(got, names) {
			t.Errorf("%s: %q, want %q", r, got, names)
		}
	}
}

// TestDrainTimeout checks that connections cannot hold up a removal for ever.
func TestDrainTimeout(t *testing.T) {
	d := start(t, "--cluster-ip-servers", "direct", "--drain-timeout", "2s")
	s := webService()
	serve(t, d, testbed.Backends(bed.P1, bed.P2), s)
	hs := hold(t, requests([]testbed.Frontend{s.ClusterIP()}, bed.C1, bed.Ext))
	removed := time.Now()
	put(t, d, "web.yaml", bed.With(s, testbed.Backends(bed.P2)))
	weight(t, time.Second, s, 0)
	alive(t, "while its endpoint drains", hs)
	weight(t, 5*time.Second, s, -1)
	if took := time.Since(removed); took < 2*time.Second {
		t.Errorf("the endpoint was deleted after %s, before its time", took)
	}
	for _, h := range hs {
		if got := testbed.Outcome(h.Ask()); got == "p1" {
			t.Errorf("%s: goes on after the drain timeout", h.request)
		}
	}
}

// TestNoDrain checks that behind an image nothing is kept: the real server
// goes at once, and the connection does without it.
func TestNoDrain(t *testing.T) {
	d := start(t, "--cluster-ip-servers", "image")
	s := webService()
	serve(t, d, testbed.Backends(bed.P1, bed.P2), s)
	hs := hold(t, requests(s.Frontends(), bed.C1, bed.Ext))
	serve(t, d, testbed.Backends(bed.P2), s)
	if out := on(t, bed.Node, "ipvsadm -Ln"); regexp.MustCompile(`10\.244\.0\.11|fd44::11`).MatchString(out) {
		t.Errorf("p1 is still there:\n%s", out)
	}
	alive(t, "without its real server", hs)
}

// TestDrainWithout removes an endpoint of a direct ClusterIP whose scheduler
// cannot go past weight 0: it goes at once, and its connections end with it.
func TestDrainWithout(t *testing.T) {
	d := start(t, "--cluster-ip-servers", "direct", "--scheduler", "dh")
	s := webService()
	rs := tcpOnly(requests([]testbed.Frontend{s.ClusterIP()}, bed.C1, bed.Ext))
	serve(t, d, testbed.Backends(bed.P1), s)
	hs := hold(t, rs)
	serve(t, d, testbed.Backends(bed.P2), s)
	weight(t, time.Second, s, -1)
	visited(t, rs, "p2")
	for _, h := range hs {
		if got := testbed.Outcome(h.Ask()); got != "reset" {
			t.Errorf("%s: %s, want a reset", h.request, got)
		}
	}
}
