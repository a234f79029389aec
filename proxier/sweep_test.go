package proxier

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func tcp(to, by string, answered bool) kernel.Flow {
	return kernel.Flow{Proto: state.TCP, To: at(to), By: at(by), Answered: answered}
}

func udpEvents(ip string, endpoints ...string) []source.Event {
	service, slice := webService(ip), webSlice(ip, "")
	service.Service.Spec.Ports[0].Protocol, slice.Slice.Ports[0].Protocol = "UDP", new(corev1.ProtocolUDP)
	for _, e := range endpoints {
		slice.Slice.Endpoints = append(slice.Slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{e}})
	}
	return []source.Event{service, slice}
}

// hanging is a kernel that takes for ever to delete flows, or until it is told
// not to.
type hanging struct {
	*kernel.Fake
	hangs atomic.Bool
}

type hangingFlows struct {
	kernel.Flows
	kernel *hanging
}

func (k *hanging) Flows(ctx context.Context) (kernel.Flows, error) {
	f, err := k.Fake.Flows(ctx)
	return hangingFlows{f, k}, err
}

func (f hangingFlows) Delete(ctx context.Context, family state.Family, to []state.ID, doomed func(kernel.Flow) bool) (int, error) {
	if f.kernel.hangs.Load() {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return f.Flows.Delete(ctx, family, to, doomed)
}

// No change waits for conntrack, a sweep that does not end is ended, told and
// tried again, and the loop ends with one under way.
func TestSweepThatHangs(t *testing.T) {
	const sweepDeadline, sweepRest = time.Minute, 4
	synctest.Test(t, func(t *testing.T) {
		k := &hanging{Fake: newFake()}
		k.hangs.Store(true)
		c := testConfig(desired.Image)
		var log bytes.Buffer
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		var sweeps []report.Sweep
		c.ObserveSweep = func(s *report.Sweep) { sweeps = append(sweeps, *s) }
		p := running(t, k, c)
		stale := tcp("10.96.0.1:80", "10.96.0.1:80", false)
		k.Track(stale)
		p.Events([]source.Event{webService("10.96.0.1"), webSlice("10.96.0.1", "10.244.0.1")})
		p.Synced()
		began := time.Now()
		synctest.Wait()
		p.Events(udpEvents("10.96.0.2", "10.244.0.1"))
		synctest.Wait()
		if r := p.Last(); !time.Now().Equal(began) || len(r.Failures) > 0 || r.Flows.Waiting != 2 || !r.Flows.Since.Equal(began) || !k.State.Has(state.EntryID(state.SetCluster, state.UDP, at("10.96.0.2:80"))) {
			t.Errorf("after %s: %v, %+v", time.Since(began), r.Failures, r.Flows)
		}
		time.Sleep(3 * sweepDeadline)
		synctest.Wait()
		p.Events(udpEvents("10.96.0.2", "10.244.0.2")) // for a round
		synctest.Wait()
		if f := p.Last().Flows; !errors.Is(f.Failing, context.DeadlineExceeded) || !f.Failed.Equal(began.Add(sweepDeadline)) || p.Last().Failing.Node != 0 {
			t.Errorf("after the deadline: %+v", f)
		}
		k.hangs.Store(false)
		time.Sleep((1 + sweepRest) * sweepDeadline)
		synctest.Wait()
		if slices.Contains(k.Tracked(), stale) || p.sweeper.Sum() != (report.Flows{}) {
			t.Errorf("then: %v, %+v", k.Tracked(), p.sweeper.Sum())
		}
		for _, line := range []string{"the search of conntrack entries fails", "the search of conntrack entries succeeds again"} {
			if n := strings.Count(log.String(), line); n != 1 {
				t.Errorf("logged %d times: %s", n, line)
			}
		}
		if last := sweeps[len(sweeps)-1]; last.Deleted != 1 || last.Err != nil || last.Family != state.IPv4 || len(sweeps) < 2 || sweeps[0].Took != sweepDeadline {
			t.Errorf("sweeps: %+v", sweeps)
		}
		k.hangs.Store(true)
		p.Events(udpEvents("10.96.0.3", "10.244.0.1"))
		synctest.Wait()
	})
}

// sweepNow does what the goroutine beside the loop does.
func sweepNow(p *Proxier, on kernel.Kernel) error {
	k, err := on.Flows(context.Background())
	if err != nil {
		return err
	}
	return errors.Join(p.sweeper.Sweep(context.Background(), k), k.Close())
}
