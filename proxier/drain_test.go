package proxier

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// counting is a kernel that counts the requests for connections.
type counting struct {
	*kernel.Fake
	mu    sync.Mutex
	asked int
}

func (k *counting) Connections(ctx context.Context, reals []state.ID) (map[state.ID]uint32, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	return k.Fake.Connections(ctx, reals)
}

// have gives a real server connections, and returns how often they were asked for.
func (k *counting) have(id state.ID, connections uint32) (asked int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Conns[id] = connections
	return k.asked
}

// A count of connections reads a large table. So changes during a drain do not cause one each, and a real
// server still goes soon after its last connection.
func TestDrainsAreLookedAtFromTimeToTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ip, other, pod = "10.96.0.10", "10.96.0.11", "10.244.0.1"
		k := &counting{Fake: newFake()}
		p := running(t, k, testConfig(desired.Direct))
		p.Events([]source.Event{webService(ip), webSlice(ip, pod), webService(other), webSlice(other, pod)})
		p.Synced()
		synctest.Wait()
		drained := state.RealServerID(serverAt(ip+":80"), netip.MustParseAddrPort(pod+":8080"))
		k.have(drained, 1)
		p.Events([]source.Event{webSlice(ip, "")})
		synctest.Wait()
		before := k.have(drained, 1)
		if before != 1 || !k.State.Has(drained) {
			t.Fatalf("connections counted %d times at the start of the drain, and it is there: %v", before, k.State.Has(drained))
		}
		for range 50 {
			p.Events([]source.Event{webService(other)})
			synctest.Wait()
		}
		if after := k.have(drained, 0); after > before {
			t.Errorf("connections counted %d times for changes that drain nothing", after-before)
		}
		time.Sleep(drainInterval)
		synctest.Wait()
		if k.State.Has(drained) {
			t.Errorf("a real server without connections is there after %s", drainInterval)
		}
	})
}

// A change has one line in the log, and the end of the drain that follows from it none.
func TestChangeHasOneLogLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ip, pod = "10.96.0.10", "10.244.0.1"
		var log bytes.Buffer
		c := testConfig(desired.Direct)
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		k := newFake()
		p := running(t, k, c)
		p.Synced()
		synctest.Wait()
		log.Reset()
		lines := func(do func(), want string) {
			t.Helper()
			do()
			synctest.Wait()
			if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, want) {
				t.Errorf("want one line with %q:\n%s", want, got)
			}
			log.Reset()
		}
		lines(func() { p.Events([]source.Event{webService(ip), webSlice(ip, pod)}) }, " services=1 changed=default/"+webService(ip).Service.Name+" ")
		drained := state.RealServerID(serverAt(ip+":80"), netip.MustParseAddrPort(pod+":8080"))
		k.Conns[drained] = 1
		lines(func() {
			p.Events([]source.Event{webSlice(ip, "")})
			time.Sleep(2 * c.DrainTimeout)
		}, " draining=1 ")
		if k.State.Has(drained) {
			t.Error("the drain has not ended")
		}
	})
}
