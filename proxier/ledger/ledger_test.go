package ledger

import (
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/pace"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
	"kube-ipvs/proxier/sweeper"
)

func newLedger(k kernel.Kernel, mode desired.Mode) *Ledger {
	log := slog.New(slog.DiscardHandler)
	return New(Config{
		Kernel: k, Sweeper: sweeper.New(k, log, nil), Desired: &desired.Config{Mode: mode, Images: desired.DefaultImages},
		DrainTimeout: time.Minute, Turn: Turn{Writes: 1000, AtOnce: 1000}, Between: func() bool { return false }, Log: log,
	})
}

// One write that fails has one status: it holds what the object needs, is due again with a
// growing delay, is told to the log once, and is gone with the write that succeeds.
func TestOneStatusForOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kernel.NewFake()
		server := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("242.96.0.1:80"))
		backend := state.RealServerID(server, netip.MustParseAddrPort("10.244.0.1:80"))
		k.State.Put(server, state.Intern(state.Spec{Scheduler: "rr", Flags: state.FlagOurs}))
		k.State.Put(backend, state.Weight(1))
		l := newLedger(k, desired.Image)
		if drift, err := l.Read(t.Context()); err != nil || len(drift) > 0 {
			t.Fatal(err, drift)
		}
		gone := []state.Want{{ID: backend}}
		del := func(id state.ID) state.Op { return state.Op{Verb: state.Delete, ID: id} }
		for i, delay := range []time.Duration{pace.First, 2 * pace.First} {
			w := l.begin(gone, false)
			l.fail(&report.Round{}, del(backend), errors.New("busy"), 0, w)
			l.end(w)
			if untold := l.untold([]report.Failure{{Op: del(backend), Err: errors.New("busy")}}); len(untold) != 1-i {
				t.Errorf("try %d: %d lines for the log", i, len(untold))
			}
			if err := l.obstacle(del(server), &writing{}); !errors.Is(err, kernel.ErrBlocked) {
				t.Errorf("try %d: the virtual server may go before its real server: %v", i, err)
			}
			if sum := l.failing.sum(l.config.Desired); sum.failing.Node != 1 || len(l.due()) != 0 || !l.Next().Equal(time.Now().Add(delay)) || !l.Fails(backend) {
				t.Errorf("try %d: %+v, due %v, next in %s", i, sum.failing, l.due(), time.Until(l.Next()))
			}
			time.Sleep(delay)
			if due := l.due(); len(due) != 1 || due[0].ID != backend || due[0].Present {
				t.Errorf("try %d: due %v", i, due)
			}
		}
		w := l.begin(l.due(), false)
		l.note(del(backend))
		l.end(w)
		if err := l.obstacle(del(server), &writing{}); err != nil || l.Fails(backend) || l.Has(backend) || !l.Next().IsZero() || len(l.mended) != 1 {
			t.Errorf("after the write: %v, mended %v", err, l.mended)
		}
	})
}
