package proxier

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// slow is a kernel whose readers take a long time after they have read the objects.
type slow struct {
	*kernel.Fake
	takes     time.Duration // an audit
	lookTakes time.Duration
	stuck     chan struct{} // not nil: readings do not come back before it is closed
	facts     int           // readings of the facts

	audits, looks, open atomic.Int32
}

const slowRead = time.Second

func newSlow(takes time.Duration) *slow { return &slow{Fake: newFake(), takes: takes} }

func (s *slow) Facts(ctx context.Context) (state.Facts, error) {
	s.facts++
	return s.Fake.Facts(ctx)
}

func (s *slow) Reader(ctx context.Context) (kernel.Reader, error) {
	r, err := s.Fake.Reader(ctx)
	s.open.Add(1)
	return slowReader{r, s, s.stuck}, err
}

type slowReader struct {
	kernel.Reader
	of    *slow
	stuck chan struct{}
}

func (r slowReader) Each(ctx context.Context, note func(id state.ID, spec state.SpecRef, active, inactive uint32)) error {
	r.of.audits.Add(1)
	time.Sleep(r.of.takes)
	if r.stuck != nil {
		<-r.stuck
	}
	return r.Reader.Each(ctx, note)
}

func (r slowReader) EachRule(ctx context.Context, note func(state.ID, state.SpecRef)) error {
	r.of.looks.Add(1)
	time.Sleep(r.of.lookTakes)
	if r.stuck != nil {
		<-r.stuck
	}
	return r.Reader.EachRule(ctx, note)
}

func (r slowReader) Cost() time.Duration { return r.of.takes }

func (r slowReader) Close() error {
	r.of.open.Add(-1)
	return r.Reader.Close()
}

// The loop programs changes while an audit reads. The audit does not take these for changes by
// other programs, and finds those.
func TestChangesDuringAnAudit(t *testing.T) {
	for _, meddled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			k := newSlow(slowRead)
			p := running(t, k, testConfig(desired.Direct))
			p.Events(clusterOf(100, 2))
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
				t.Error("an object that another program deleted is not back")
			}
			r := p.Last()
			if again := k.Reads - reads - 1; meddled != (again > 0) || meddled != (len(r.Drift) == 1) || r.Audited == meddled || r.Full != meddled {
				t.Errorf("meddled %v: read %d times more, drift %v, audited %v, full %v", meddled, again, r.Drift, r.Audited, r.Full)
			}
		})
	}
}

// An audit comes as often as a look if it is cheap, and takes a thousandth of a CPU if it is not.
func TestAuditsGoByTheirCost(t *testing.T) {
	for takes, want := range map[time.Duration]int32{
		0: 59, 100 * time.Millisecond: 18, time.Minute: 5, // in half an hour; of 100 ms: each 100 s, the first after 30
	} {
		synctest.Test(t, func(t *testing.T) {
			k := newSlow(takes)
			c := testConfig(desired.Direct)
			c.AuditPeriod, c.CanaryPeriod = 5*time.Minute, 30*time.Second
			p := running(t, k, c)
			p.Synced()
			time.Sleep(30*time.Minute - time.Second)
			synctest.Wait()
			if n := k.audits.Load(); n != want {
				t.Errorf("audits that take %s: %d in half an hour, want %d", takes, n, want)
			}
			if n := k.looks.Load(); takes == 0 && n != 0 || takes == time.Minute && n < 40 {
				t.Errorf("audits that take %s: %d looks in half an hour", takes, n)
			}
		})
	}
}

// SIGHUP during an audit starts another one after it, and reads the facts at once.
func TestAuditDuringAnAudit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newSlow(slowRead)
		p := running(t, k, testConfig(desired.Direct))
		p.Events([]source.Event{webService("10.96.0.1")})
		p.Synced()
		synctest.Wait()
		p.Audit()
		time.Sleep(slowRead / 2)
		synctest.Wait()
		facts := k.facts
		moved := netip.MustParseAddr("192.168.50.99")
		k.NodeFacts.NodeIPs = []netip.Addr{moved}
		p.Audit()
		synctest.Wait()
		if k.facts != facts+1 {
			t.Errorf("facts were read %d times", k.facts-facts)
		}
		if got := specOf(k.Fake, state.VIPID(netip.MustParseAddr("10.96.0.1"))).Source; got != moved {
			t.Errorf("the VIP's source is %s, want %s", got, moved)
		}
		// New facts have the loop read all itself: nothing is left to do for the second.
		p.Audit()
		time.Sleep(slowRead / 2)
		p.Audit()
		time.Sleep(10 * slowRead)
		synctest.Wait()
		if n := k.audits.Load(); n != 3 || p.Last().Err != nil {
			t.Errorf("%d audits, %v", n, p.Last().Err)
		}
	})
}

// The loop gives up readings that hang, logs this once, and bounds their number. It programs changes
// meanwhile, and ends on request.
func TestStuckAudits(t *testing.T) {
	const mostReaders = 3
	for _, harm := range []string{"audits hang", "looks hang"} {
		synctest.Test(t, func(t *testing.T) {
			k := newSlow(0)
			if harm == "looks hang" {
				k.takes = 10 * time.Second // so that they come
			}
			var log bytes.Buffer
			c := testConfig(desired.Direct)
			c.AuditPeriod, c.CanaryPeriod = 10*time.Minute, 30*time.Second
			c.Log = slog.New(slog.NewTextHandler(&log, nil))
			rounds, given := 0, 0
			c.Observe = func(r *report.Round) {
				rounds++
				if r.GivenUp {
					given++
				}
			}
			p := New(k, c)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			run := func() { defer close(ended); p.Run(ctx) }
			go run()
			p.Events([]source.Event{webService("10.96.0.1"), webSlice("10.96.0.1", "10.244.0.1")})
			p.Synced()
			time.Sleep(time.Minute)
			synctest.Wait()
			stuck := make(chan struct{})
			k.stuck = stuck
			p.Events(nil) // the loop must see it
			time.Sleep(time.Hour)
			p.Audit()
			p.Events([]source.Event{webService("10.96.0.2")})
			synctest.Wait()
			if n := k.open.Load(); n != mostReaders || given != mostReaders-1 && given != mostReaders {
				t.Errorf("%s: %d readers are open, %d were given up", harm, n, given)
			}
			if n := strings.Count(log.String(), "an audit hangs:"); n != 1 {
				t.Errorf("%s: told %d times", harm, n)
			}
			if rounds > 20 {
				t.Errorf("%s: %d rounds in which nothing was to be done", harm, rounds)
			}
			if !k.State.Has(serverAt("10.96.0.2:80")) {
				t.Errorf("%s: a change waits", harm)
			}
			k.stuck = nil
			p.Events(nil)
			synctest.Wait()
			close(stuck)
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := strings.Count(log.String(), "audits finish again"); n != 1 || k.open.Load() != 0 {
				t.Errorf("%s: told %d times that it is over, %d readers are open", harm, n, k.open.Load())
			}
			last := make(chan struct{})
			k.stuck = last
			p.Audit()
			synctest.Wait()
			began := time.Now()
			cancel()
			<-ended
			if took := time.Since(began); took > partingTime {
				t.Errorf("%s: it ended after %s", harm, took)
			}
			close(last)
			time.Sleep(time.Minute)
		})
	}
}
