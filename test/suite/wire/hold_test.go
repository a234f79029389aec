package wire

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// held is a TCP connection that stays open while things change.
type held struct {
	request
	*testbed.Session
}

// hold opens a connection to p1 for each of the requests that is TCP.
func hold(t *testing.T, rs []request) []held {
	t.Helper()
	var out []held
	for _, r := range rs {
		if r.network == "tcp" {
			out = append(out, held{r, reach1(t, r)})
		}
	}
	return out
}

// reach1 dials until p1 answers.
func reach1(t *testing.T, r request) *testbed.Session {
	t.Helper()
	for range 10 {
		s, err := r.from.Dial(t.Context(), r.network, r.to, r.with)
		if err != nil {
			t.Fatalf("%s: %v", r, err)
		}
		t.Cleanup(s.Close)
		if s.First.Name == "p1" {
			return s
		}
	}
	t.Fatalf("%s: ten connections and none to p1", r)
	return nil
}

// alive checks that all connections still work.
func alive(t *testing.T, when string, hs []held) {
	t.Helper()
	for _, h := range hs {
		if a, err := h.Ask(); err != nil {
			t.Errorf("%s, %s: %s", h.request, when, testbed.Outcome(a, err))
		}
	}
}

// conntracked returns the frontends whose connections conntrack carries and not IPVS:
// with direct, all but the ClusterIP.
func conntracked(d *testbed.Daemon, s testbed.Service) []testbed.Frontend {
	if strings.Contains(d.Log(), "clusterIPServers=direct") {
		return s.Outside()
	}
	return s.Frontends()
}

func webService() testbed.Service {
	return testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer", External: true, Protocols: []string{"TCP"}}
}

// TestHeldBeyondEndpoint removes the endpoint of connections: they go on, and
// new ones go elsewhere, with IPVS and with conntrack.
func TestHeldBeyondEndpoint(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := webService()
		rs := tcpOnly(requests(s.Frontends(), bed.C1, bed.Node, bed.Ext))
		serve(t, d, testbed.Backends(bed.P1, bed.P2), s)
		hs := hold(t, rs)
		serve(t, d, testbed.Backends(bed.P2), s)
		alive(t, "after its endpoint has gone", hs)
		answered(t, rs, anyone, "p2")
		serve(t, d, testbed.Backends(bed.P1, bed.P2), s)
		alive(t, "after its endpoint is back", hs)
		answered(t, rs, anyone, "p1", "p2")
	})
}

// unserved checks that none of p1, p2 and r1 answers, all at the same time.
func unserved(t *testing.T, rs []request) {
	t.Helper()
	var wg sync.WaitGroup
	for _, r := range rs {
		wg.Go(func() {
			with := r.with
			with.Patience = 2 * fast
			got := testbed.Outcome(r.from.Ask(t.Context(), r.network, r.to, with))
			if slices.Contains([]string{"p1", "p2", "r1"}, got) {
				t.Errorf("%s: %s answers, and there is no such Service", r, got)
			}
		})
	}
	wg.Wait()
}

func tcpOnly(rs []request) []request {
	var out []request
	for _, r := range rs {
		if r.network == "tcp" {
			out = append(out, r)
		}
	}
	return out
}

// TestHeldBeyondService deletes the Service of connections that conntrack
// carries: they go on, and new ones fail.
func TestHeldBeyondService(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := webService()
		serve(t, d, testbed.Backends(bed.P1), s)
		rs := tcpOnly(requests(conntracked(d, s), bed.C1, bed.Node, bed.Ext))
		hs := hold(t, rs)
		withdraw(t, d, s)
		alive(t, "after its Service was deleted", hs)
		unserved(t, rs)
	})
}

// TestHeldIdle lets connections idle for longer than IPVS remembers them.
// Where IPVS carries them, it must remember as long as conntrack does.
func TestHeldIdle(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := webService()
		serve(t, d, testbed.Backends(bed.P1), s)
		if len(conntracked(d, s)) < len(s.Frontends()) {
			want := on(t, bed.Node, "sysctl -n net.netfilter.nf_conntrack_tcp_timeout_established")
			if got := on(t, bed.Node, "ipvsadm -l --timeout"); !strings.Contains(got, ": "+want+" ") {
				t.Errorf("%s; want %s s for tcp", got, want)
			}
		}
		keepTimeouts(t)
		on(t, bed.Node, "ipvsadm --set 1 1 1")
		hs := hold(t, requests(conntracked(d, s), bed.C1, bed.Node, bed.Ext))
		err := testbed.Await(t.Context(), 10*time.Second, func() error {
			if known := on(t, bed.Node, "ipvsadm -Lnc"); strings.Contains(known, "ESTABLISHED") {
				return fmt.Errorf("IPVS still knows connections:\n%s", known)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		alive(t, "after IPVS has forgotten it", hs)
	})
}

// TestHeldOverRestart stops and kills kube-ipvs and starts it again.
func TestHeldOverRestart(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := webService()
		serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
		rs := tcpOnly(requests(s.Frontends(), bed.C1, bed.Node, bed.Ext))
		hs := hold(t, rs)
		if err := d.Restart(); err != nil {
			t.Fatal(err)
		}
		answered(t, rs, anyone, "p1", "r1")
		alive(t, "after a restart", hs)
		d.Kill()
		alive(t, "after kube-ipvs was killed", hs)
		if err := d.Restart(); err != nil {
			t.Fatal(err)
		}
		settled(t, d)
		answered(t, rs, anyone, "p1", "r1")
		alive(t, "after it was started again", hs)
	})
}

// TestIPVSTimeout goes from one mode to the other and back: IPVS keeps idle
// connections as long as the present mode needs, and an operator's timeout stays in a
// mode without virtual servers at ClusterIPs.
func TestIPVSTimeout(t *testing.T) {
	keepTimeouts(t)
	d := start(t, "--cluster-ip-servers", "direct")
	serve(t, d, testbed.Backends(bed.P1), webService())
	tcp := func() string {
		return strings.Fields(strings.Split(on(t, bed.Node, "ipvsadm -l --timeout"), ":")[1])[0]
	}
	for _, step := range []struct{ mode, set, want string }{
		{"direct", "", "86400"}, {"image", "", "900"}, {"image", "7200", "7200"}, {"direct", "", "86400"}, {"image", "", "900"},
	} {
		if step.set != "" {
			on(t, bed.Node, "ipvsadm --set "+step.set+" 0 0")
		}
		if err := d.RestartWith("--cluster-ip-servers", step.mode); err != nil {
			t.Fatal(err)
		}
		settled(t, d)
		if got := tcp(); got != step.want {
			t.Errorf("%s s with %s, want %s", got, step.mode, step.want)
		}
	}
}
