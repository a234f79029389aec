package proxier

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// torn is a kernel whose reads lack a virtual server, each time a different one.
type torn struct {
	*kernel.Fake
	lacks []state.ID // of this reading and those that follow
}

func (k *torn) read() *state.State {
	s := k.State.Clone()
	if len(k.lacks) > 0 {
		s.Delete(k.lacks[0])
		k.lacks = k.lacks[1:]
	}
	return s
}

func (k *torn) Read(context.Context) (*state.State, error) { return k.read(), nil }

func (k *torn) Reader(ctx context.Context) (kernel.Reader, error) {
	return (&kernel.Fake{State: k.read()}).Reader(ctx)
}

// A difference that only one of two reads has is not drift, and causes no write.
func TestTornReadings(t *testing.T) {
	a, b, gone := serverAt("10.96.0.3:80"), serverAt("10.96.0.4:80"), serverAt("10.96.0.7:80")
	for name, lacks := range map[string][]state.ID{"others each time": {a, b, a}, "the first is whole": {a, gone, a}, "one is torn": {a}} {
		synctest.Test(t, func(t *testing.T) {
			k := &torn{Fake: newFake()}
			p := running(t, k, testConfig(desired.Direct))
			p.Events(clusterOf(10, 2))
			p.Synced()
			synctest.Wait()
			k.State.Delete(gone)
			k.lacks = lacks
			before := k.Writes
			p.Audit()
			synctest.Wait()
			if r := p.Last(); len(r.Failures) > 0 || len(r.Drift) != 1 || len(k.lacks) > 0 {
				t.Errorf("%s: failures %v, drift %v, %d torn readings left", name, r.Failures, r.Drift, len(k.lacks))
			}
			if n := k.Writes - before; n != 1 || !k.State.Has(gone) {
				t.Errorf("%s: %d writes mended one virtual server", name, n)
			}
		})
	}
}

// Writes that wait for others do not count as failed: a plan that gives way to changes makes writes wait, and
// this is no fault (upstream's specs with three nodes on one CPU).
func TestFailedCountsWhatWasTried(t *testing.T) {
	r := report.Round{Failures: []report.Failure{{Err: kernel.ErrStale}, {Err: fmt.Errorf("%w virtual server 10.96.0.1:80/tcp", kernel.ErrBlocked)}}}
	if n := r.Failed(); n != 1 {
		t.Errorf("%d failed", n)
	}
}
