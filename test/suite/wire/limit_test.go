package wire

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// TestMaxConnections fills endpoints up to their limit: the others take what is over it,
// and a client is refused at once when all are full. The limit is counted for each frontend.
func TestMaxConnections(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		unlimitICMP(t)
		s := webService()
		s.Annotations = `kube-ipvs/max-connections: "3"`
		serve(t, d, testbed.Backends(bed.P1), s)
		var held [][]*testbed.Session
		for _, r := range ways(s) {
			held = append(held, fill(t, r, 3, "p1"))
			full(t, r)
		}
		serve(t, d, testbed.Backends(bed.P1, bed.P2), s)
		for i, r := range ways(s) {
			fill(t, r, 3, "p2")
			full(t, r)
			if sees(t, s, r) {
				held[i][0].Reset() // one closed in order counts for two minutes more
			} else {
				held[i][0].Close() // a client's reset is not seen
			}
		}
		for i, r := range ways(s) {
			becomesFree(t, r, "p1")
			full(t, r)
			for _, session := range held[i][1:] {
				if got := testbed.Outcome(session.Ask()); got != "p1" {
					t.Errorf("%s: a connection that was there before: %s", r, got)
				}
			}
		}
	}, forgetful...)
}

// sees reports whether IPVS sees all packets of a request.
func sees(t *testing.T, s testbed.Service, r request) bool {
	return strings.HasSuffix(t.Name(), "direct") && (r.to == s.ClusterIP().V4 || r.to == s.ClusterIP().V6)
}

// full checks that a client is refused at once, again and again. IPVS does it by an ICMP error.
func full(t *testing.T, r request) {
	t.Helper()
	for range 3 {
		began := time.Now()
		_, err := r.from.Ask(t.Context(), r.network, r.to, r.with)
		if took := time.Since(began); !errors.Is(err, syscall.ECONNREFUSED) || took > atOnce() {
			t.Errorf("%s: %v after %s, want refused within %s", r, err, took, atOnce())
		}
	}
}

// fill opens n connections, all of which must get to one endpoint.
func fill(t *testing.T, r request, n int, name string) []*testbed.Session {
	t.Helper()
	var out []*testbed.Session
	for i := range n {
		s, err := r.from.Dial(t.Context(), r.network, r.to, r.with)
		if err != nil {
			t.Fatalf("%s: connection %d of %d to %s: %v", r, i+1, n, name, err)
		}
		t.Cleanup(s.Reset)
		if out = append(out, s); s.First.Name != name {
			t.Errorf("%s: connection %d gets to %s, want %s", r, i+1, s.First.Name, name)
		}
	}
	return out
}

// becomesFree waits until an endpoint takes one more connection, and no other takes any: IPVS
// counts one for some seconds more.
func becomesFree(t *testing.T, r request, name string) {
	t.Helper()
	err := testbed.Await(t.Context(), 20*time.Second, func() error {
		s, err := r.from.Dial(t.Context(), r.network, r.to, r.with)
		if err != nil {
			return err
		}
		t.Cleanup(s.Reset)
		if s.First.Name != name {
			t.Errorf("%s: %s takes a connection, want %s", r, s.First.Name, name)
		}
		return nil
	})
	if err != nil {
		t.Errorf("%s: %v", r, err)
	}
}

// TestMaxConnectionsStays restarts kube-ipvs, which writes nothing, and has another program
// change limits: the next audit finds and mends that, though the table in /proc has none.
func TestMaxConnectionsStays(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "web", Number: 1, Protocols: []string{"TCP"}, Families: []string{"IPv4"}, Annotations: `kube-ipvs/max-connections: "3"`}
		serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
		limits(t, 3)
		before := len(d.Log())
		if err := d.Restart(); err != nil {
			t.Fatal(err)
		}
		const first = `msg=round round=1 `
		line := ""
		err := testbed.Await(t.Context(), 10*time.Second, func() error {
			for line = range strings.Lines(d.Log()[before:]) {
				if strings.Contains(line, first) {
					return nil
				}
			}
			return fmt.Errorf("the log has no %q", first)
		})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(line, "writes=0 ") {
			t.Errorf("the start writes: %s", line)
		}
		for server := range strings.Lines(on(t, bed.Node, "ipvsadm -Sn | grep '^-A' | cut -d' ' -f2,3")) {
			on(t, bed.Node, "ipvsadm -e "+strings.TrimSpace(server)+" -r "+fmt.Sprintf("%s:%d", bed.P1.IPv4, testbed.TargetPort)+" -m -w 2 -x 9 -y 9")
		}
		err = testbed.Await(t.Context(), 10*time.Second, func() error {
			if log := d.Log()[before:]; !strings.Contains(log, "drift=1") {
				return fmt.Errorf("the log has no drift:\n%s", log)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		limits(t, 3)
	}, "--audit-period", "1s")
}

// limits waits until all real servers have the limit.
func limits(t *testing.T, limit int) {
	t.Helper()
	err := testbed.Await(t.Context(), 10*time.Second, func() error {
		out := on(t, bed.Node, "ipvsadm -Ln --thresholds")
		n := 0
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) > 2 && f[0] == "->" && f[1] != "RemoteAddress:Port" {
				if n++; f[2] != fmt.Sprint(limit) {
					return fmt.Errorf("want limits of %d:\n%s", limit, out)
				}
			}
		}
		if n == 0 {
			return fmt.Errorf("no real servers:\n%s", out)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
