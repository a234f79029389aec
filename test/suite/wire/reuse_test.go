package wire

import (
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// TestPortUsedAgain has clients connect from the same port again and again, while IPVS
// and conntrack remember the connection before; half-way the endpoint is replaced. No
// connection may fail, or come to the endpoint that has gone. Some kernels drop the first
// SYN from such a port, so that it takes a second: how many did is only told.
func TestPortUsedAgain(t *testing.T) {
	for _, h := range []*testbed.Host{bed.C1, bed.Node, bed.Ext} { // the client would keep the port to itself
		was := on(t, h, "sysctl -n net.ipv4.tcp_max_tw_buckets")
		on(t, h, "sysctl -qw net.ipv4.tcp_max_tw_buckets=0")
		undo(t, h, "sysctl -qw net.ipv4.tcp_max_tw_buckets="+was)
	}
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := webService()
		rs := tcpOnly(slices.Concat(requests(s.Frontends(), bed.C1, bed.Node), requests(s.Outside(), bed.Ext)))
		for i := range rs {
			rs[i].with = testbed.From{Port: uint16(20000 + i), Patience: 5 * time.Second}
		}
		late := map[string]int{}
		for _, p := range []*testbed.Host{bed.P1, bed.P2} {
			serve(t, d, testbed.Backends(p), s)
			for n := range 4 {
				for _, r := range rs {
					session, took := dialAgain(t, r)
					if took >= time.Second {
						late[p.Name]++
					}
					if session.First.Name != p.Name {
						t.Errorf("%s: %s answers, want %s", r, session.First.Name, p.Name)
					}
					if n%2 == 0 {
						session.Close()
					} else {
						session.Reset()
					}
				}
			}
		}
		t.Logf("of %d connections to each endpoint these took a second: %v", 4*len(rs), late)
	})
}

// dialAgain connects from a port, as soon as it is free.
func dialAgain(t *testing.T, r request) (session *testbed.Session, took time.Duration) {
	t.Helper()
	err := testbed.Await(t.Context(), r.with.Patience, func() (err error) {
		began := time.Now()
		defer func() { took = time.Since(began) }()
		session, err = r.from.Dial(t.Context(), r.network, r.to, r.with)
		if err != nil && !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Fatalf("%s: %v", r, err)
		}
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", r, err)
	}
	return session, took
}
