package proxier

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/ledger"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// largeService has 20 ports at 100 addresses from outside.
func largeService(ip string) source.Event {
	e := webService(ip)
	s := e.Service
	s.Spec.Ports = nil
	for i := range 20 {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprintf("p%d", i), Port: int32(1000 + i)})
	}
	for i := range 100 {
		s.Spec.ExternalIPs = append(s.Spec.ExternalIPs, fmt.Sprintf("192.0.2.%d", i+1))
	}
	model.Default(s)
	return e
}

func publishes(op state.Op, addr string) bool {
	return op.Verb == state.Add && op.ID == state.EntryID(state.SetCluster, state.TCP, netip.MustParseAddrPort(addr))
}

// A change that comes while a Service with thousands of objects is programmed does
// not wait for its end, and both come to be programmed.
func TestChangesGoBetween(t *testing.T) {
	for _, late := range []bool{false, true} { // the large one goes again, too
		t.Run(fmt.Sprintf("deleted=%v", late), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newFake()
				c := testConfig(desired.Image)
				p := running(t, k, c)
				p.Events([]source.Event{webService("10.96.0.1")})
				p.Synced()
				synctest.Wait()
				if late {
					p.Events([]source.Event{largeService("10.96.0.9")})
					synctest.Wait()
				}
				ops, came, done := 0, 0, 0
				k.OnOp = func(op state.Op) {
					if ops++; ops == usualTurn.Writes/2 {
						came = ops
						p.Events([]source.Event{webService("10.96.0.2")})
					}
					if publishes(op, "10.96.0.2:80") {
						done = ops
					}
				}
				large := largeService("10.96.0.9")
				large.Deleted = late
				p.Events([]source.Event{large})
				synctest.Wait()
				if ops < 3*usualTurn.Writes || came == 0 {
					t.Fatalf("%d writes: the Service is not large", ops)
				}
				if waited := done - came; done == 0 || waited > usualTurn.Writes {
					t.Errorf("the change was programmed after %d other writes, want a turn of %d at most", waited, usualTurn.Writes)
				}
				r := p.Last()
				if b := p.Backlog(); r.Left != 0 || b != (report.Backlog{}) || r.Failing.All() != 0 {
					t.Errorf("left %d, backlog %+v, failing %+v", r.Left, b, r.Failing)
				}
				k.OnOp = nil
				before := k.Writes
				p.Audit()
				synctest.Wait()
				if n := k.Writes - before; n != 0 {
					t.Errorf("%d writes were missing", n)
				}
			})
		})
	}
}

// What the cluster hangs on comes first also among changes that come together,
// and a Service with many objects last.
func TestFirstAmongChanges(t *testing.T) {
	k := newFake()
	p := New(k, testConfig(desired.Image))
	p.Synced()
	p.round(t.Context())
	dns := webService("10.96.0.53")
	dns.Service.Namespace, dns.Service.Name = "kube-system", "zz-dns"
	dns.Service.Spec.Ports[0].Port = 53
	var order []string
	k.OnOp = func(op state.Op) {
		for _, a := range []string{"10.96.0.53:53", "10.96.0.9:1000", "10.96.0.2:80"} {
			if publishes(op, a) {
				order = append(order, a)
			}
		}
	}
	p.Events([]source.Event{largeService("10.96.0.9"), webService("10.96.0.2"), dns})
	p.round(t.Context())
	if r := p.Last(); r.Left == 0 {
		t.Error("the round of small Services lasts as long as the large one takes")
	}
	p.round(t.Context())
	if got := fmt.Sprint(order); got != "[10.96.0.53:53 10.96.0.2:80 10.96.0.9:1000]" {
		t.Errorf("published in the order %s", got)
	}
}

// A plan that was left off is no reason for the node to be out of service, but for
// not being ready.
func TestNotReadyWhileWritesAreLeft(t *testing.T) {
	k := newFake()
	c := testConfig(desired.Image)
	c.Turn = ledger.Turn{Writes: 2, AtOnce: 2}
	p := New(k, c)
	p.Events([]source.Event{webService("10.96.0.1")})
	p.Synced()
	k.OnOp = func(state.Op) { p.Events([]source.Event{{}}) }
	p.round(t.Context())
	if r := p.Last(); r.Left == 0 || r.NotReady != fmt.Sprintf("%d writes are still to come", r.Left) {
		t.Errorf("left %d, not ready because of %q", r.Left, r.NotReady)
	}
	k.OnOp = nil
	p.round(t.Context())
	if r := p.Last(); r.Left != 0 || r.NotReady != "" {
		t.Errorf("left %d, not ready because of %q", r.Left, r.NotReady)
	}
}

// A large Service that changes faster than it is written makes no plans grow: what a
// newer plan is about leaves the older ones.
func TestPlansOfAServiceThatFlapsDoNotGrow(t *testing.T) {
	k := newFake()
	p := New(k, testConfig(desired.Image))
	p.Synced()
	p.round(t.Context())
	k.OnOp = func(state.Op) { p.Events([]source.Event{{}}) } // changes wait all the time
	most := 0
	for i := range 60 {
		e := largeService("10.96.0.9")
		for j := range e.Service.Spec.ExternalIPs {
			e.Service.Spec.ExternalIPs[j] = fmt.Sprintf("192.%d.2.%d", i+1, j+1)
		}
		p.Events([]source.Event{e})
		p.round(t.Context())
		if i == 1 {
			most = p.Last().Left
		}
	}
	if n := p.Last().Left; most == 0 || n > 3*most || p.ledger.LeftOff() > 5 {
		t.Errorf("%d writes are left in %d plans, after one change %d", n, p.ledger.LeftOff(), most)
	}
}
