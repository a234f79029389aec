package proxier

import (
	"context"
	"net/netip"
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
