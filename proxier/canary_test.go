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

// Who removes all virtual servers, flushes a set or the rules is found out long
// before the audit.
func TestCanary(t *testing.T) {
	for name, harm := range map[string]func(id state.ID) bool{
		"ipvsadm -C":  func(id state.ID) bool { return id.Kind == state.VirtualServer || id.Kind == state.RealServer },
		"ipset flush": func(id state.ID) bool { return id.Kind == state.Entry && id.Set == state.SetCluster },
		"iptables -F": func(id state.ID) bool { return id == state.RulesID(state.IPv4) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newFake()
				c := testConfig(desired.Direct)
				c.AuditPeriod, c.CanaryPeriod = time.Hour, 30*time.Second
				p := running(t, k, c)
				p.Events([]source.Event{webService("10.96.0.1"), webSlice("10.96.0.1", "10.244.0.1")})
				p.Synced()
				synctest.Wait()
				want := k.State.Clone()
				time.Sleep(10 * c.CanaryPeriod)
				synctest.Wait()
				if p.Last().Audited || p.Last().Full && p.Last().Number > 1 {
					t.Errorf("an audit, with nothing missing")
				}
				for id := range want.All() {
					if harm(id) {
						k.State.Delete(id)
					}
				}
				if k.State.Len() == want.Len() {
					t.Fatal("no harm was done")
				}
				p.Events(nil) // what the test wrote, the loop must see
				time.Sleep(c.CanaryPeriod)
				synctest.Wait()
				if diff := differences(want, k.State); len(diff) > 0 {
					t.Errorf("not repaired after %s: %v", c.CanaryPeriod, diff)
				}
			})
		})
	}
}

// stuck is a kernel whose rules cannot be read to the end before it is let go.
type stuck struct {
	*kernel.Fake
	release chan struct{}
}

func (k *stuck) Reader(ctx context.Context) (kernel.Reader, error) {
	r, err := k.Fake.Reader(ctx)
	return stuckReader{r, k.release}, err
}

type stuckReader struct {
	kernel.Reader
	release chan struct{}
}

func (r stuckReader) EachRule(ctx context.Context, note func(state.ID, state.SpecRef)) error {
	<-r.release
	return r.Reader.EachRule(ctx, note)
}

// A look that does not end is waited for without haste.
func TestCanaryThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &stuck{newFake(), make(chan struct{})}
		c := testConfig(desired.Direct)
		c.AuditPeriod, c.CanaryPeriod = 24*time.Hour, 30*time.Second
		rounds := 0
		c.Observe = func(*Round) {
			if rounds++; rounds == 100 {
				close(k.release)
			}
		}
		p := running(t, k, c)
		p.Events([]source.Event{webService("10.96.0.1"), webSlice("10.96.0.1", "10.244.0.1")})
		p.Synced()
		time.Sleep(10 * c.CanaryPeriod)
		synctest.Wait()
		if rounds > 5 {
			t.Fatalf("%d rounds in which nothing was to be done", rounds)
		}
		close(k.release)
	})
}
