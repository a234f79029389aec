package proxier

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// slow is a kernel whose reader takes its time, after it has seen what there is.
type slow struct{ *kernel.Fake }

const slowRead = time.Second

func (s slow) Reader(ctx context.Context) (kernel.Reader, error) {
	r, err := s.Fake.Reader(ctx)
	return slowReader{r}, err
}

type slowReader struct{ kernel.Reader }

func (s slowReader) Each(ctx context.Context, note func(state.ID, state.SpecRef)) error {
	time.Sleep(slowRead)
	return s.Reader.Each(ctx, note)
}

// Changes are programmed while an audit reads, and it does not take them for
// somebody else's; what somebody else has changed it finds.
func TestChangesDuringAnAudit(t *testing.T) {
	for _, meddled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			k := newFake()
			p := running(t, slow{k}, testConfig(desired.Direct))
			p.Events(cluster(100, 2))
			p.Synced()
			synctest.Wait()
			gone := serverAt("10.96.0.7:80")
			if meddled {
				k.State.Delete(gone)
			}
			reads := k.Reads
			p.Audit()
			synctest.Wait()
			time.Sleep(slowRead / 2)
			p.Events([]source.Event{webSlice("10.96.0.1", "10.244.0.9"), webService("10.96.9.9"), {Service: webService("10.96.0.3").Service, Deleted: true}})
			synctest.Wait()
			if !k.State.Has(serverAt("10.96.9.9:80")) || k.State.Has(serverAt("10.96.0.3:80")) {
				t.Error("changes wait for the audit")
			}
			p.Events(nil) // what the test has read, the loop may change from now on
			time.Sleep(slowRead)
			synctest.Wait()
			if !k.State.Has(gone) {
				t.Error("what somebody deleted is not back")
			}
			r := p.Last()
			if again := k.Reads - reads - 1; meddled != (again > 0) || meddled != (len(r.Drift) == 1) || r.Audited == meddled || r.Full != meddled {
				t.Errorf("meddled %v: read %d times more, drift %v, audited %v, full %v", meddled, again, r.Drift, r.Audited, r.Full)
			}
		})
	}
}
