package ledger

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/pace"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// One write that fails has one status: it holds what the object needs, is due again with a
// growing delay, is told to the log once, and is gone with the write that succeeds.
func TestOneStatusForOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kernel.NewFake()
		server := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("242.96.0.1:80"))
		backend := state.RealServerID(server, netip.MustParseAddrPort("10.244.0.1:80"))
		k.State.Put(server, state.Intern(state.Spec{Scheduler: "rr", Flags: state.FlagOurs}))
		k.State.Put(backend, state.Weight(1))
		var mended []report.Unwritten
		l := New(&desired.Config{Mode: desired.Image, Images: desired.DefaultImages}, time.Minute, func(u []report.Unwritten) { mended = u })
		if drift, err := l.Read(t.Context(), k); err != nil || len(drift) > 0 {
			t.Fatal(err, drift)
		}
		gone := []state.Want{{ID: backend}}
		del := func(id state.ID) state.Op { return state.Op{Verb: state.Delete, ID: id} }
		for i, delay := range []time.Duration{pace.First, 2 * pace.First} {
			w := l.Begin(gone, false)
			l.Fail(del(backend), errors.New("busy"), w)
			l.End(w)
			if untold := l.Untold([]report.Failure{{Op: del(backend), Err: errors.New("busy")}}); len(untold) != 1-i {
				t.Errorf("try %d: %d lines for the log", i, len(untold))
			}
			if err := l.Obstacle(del(server), &Writing{}); !errors.Is(err, kernel.ErrBlocked) {
				t.Errorf("try %d: the virtual server may go before its real server: %v", i, err)
			}
			if sum := l.Sum(); sum.Failing.Node != 1 || len(l.Due()) != 0 || !l.Next().Equal(time.Now().Add(delay)) || !l.Fails(backend) {
				t.Errorf("try %d: %+v, due %v, next in %s", i, sum.Failing, l.Due(), time.Until(l.Next()))
			}
			time.Sleep(delay)
			if due := l.Due(); len(due) != 1 || due[0].ID != backend || due[0].Present {
				t.Errorf("try %d: due %v", i, due)
			}
		}
		w := l.Begin(l.Due(), false)
		l.Note(del(backend))
		l.End(w)
		if err := l.Obstacle(del(server), &Writing{}); err != nil || l.Fails(backend) || l.Has(backend) || !l.Next().IsZero() || len(mended) != 1 {
			t.Errorf("after the write: %v, mended %v", err, mended)
		}
	})
}
