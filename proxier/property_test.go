package proxier

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"kube-ipvs/proxier/cluster"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/ledger"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
	"kube-ipvs/test/lib/world"
)

var nodeFacts = state.Facts{
	NodeIPs: []netip.Addr{netip.MustParseAddr("192.168.50.1"), netip.MustParseAddr("fd50::1")}, MTU: 1500,
}

func testConfig(mode desired.Mode) Config {
	return Config{
		Config: cluster.Config{Zone: world.Zone, Desired: desired.Config{
			Mode: mode, Scheduler: "rr", IPv6: true, Images: desired.DefaultImages, MasqueradeBit: 14, NodeName: world.Node,
		}},
		AuditPeriod: time.Minute, DrainTimeout: time.Minute, Log: slog.New(slog.DiscardHandler),
	}
}

func newFake() *kernel.Fake {
	f := kernel.NewFake()
	f.NodeFacts = nodeFacts
	return f
}

// change draws an event as a source would deliver it.
func change(t *rapid.T) source.Event {
	switch rapid.IntRange(0, 9).Draw(t, "event") {
	case 0:
		return source.Event{Service: world.Service(t), Deleted: true}
	case 1:
		return source.Event{Slice: world.Slice(t), Deleted: true}
	case 2, 3, 4, 5:
		return source.Event{Service: world.Service(t)}
	}
	return source.Event{Slice: world.Slice(t)}
}

// settle runs rounds until the loop only waits for drains.
func settle(t *rapid.T, p *Proxier) {
	for range 2000 { // as many for turns of one write
		p.round(context.Background())
		if r := p.Last(); r.Failing.All()+r.Left == 0 && !p.ledger.Stale() && r.Err == nil {
			return
		}
		hurry(p)
	}
	t.Fatalf("still not settled after 2000 rounds: %v", p.Last().Failures)
}

// hurry ends all backoffs for the next round.
func hurry(p *Proxier) {
	p.ledger.Retry()
	if p.ledger.Stale() {
		p.ledger.ReadNow()
	}
}

// finishDrains lets the time of all draining real servers pass.
func finishDrains(p *Proxier, c Config) {
	c.DrainTimeout = time.Nanosecond
	p.Configure(c)
	p.round(context.Background())
}

func lines(s *state.State) []string { return strings.Split(s.String(), "\n") }

// With random changes in any order, and a tenth of all writes failing, the kernel gets exactly the objects of
// a fresh start. No write leaves it in a state that answers wrongly, and the loop never deletes a desired
// object.
func TestConverges(t *testing.T) {
	for _, mode := range []desired.Mode{desired.Direct, desired.Image} {
		for _, faults := range []float64{0, 0.1} {
			t.Run(fmt.Sprintf("%s/%v", mode, faults), func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) { converges(t, mode, faults) })
			})
		}
	}
}

func converges(t *rapid.T, mode desired.Mode, faults float64) {
	c := testConfig(mode)
	fake := newFake()
	seed := rapid.Uint64().Draw(t, "seed")
	rnd := rand.New(rand.NewPCG(seed, 1))
	faulty := &kernel.Faulty{Kernel: fake, Share: faults, Rand: rnd}
	if rapid.Bool().Draw(t, "short turns") {
		c.Turn = ledger.Turn{Writes: rapid.IntRange(1, 20).Draw(t, "writes"), AtOnce: rapid.IntRange(1, 5).Draw(t, "at once")}
	}
	p := New(faulty, c)
	meddled := false // the order of writes is not kept in a repair
	fake.OnOp = func(op state.Op) {
		if !meddled {
			if err := c.Desired.Sound(fake.State); err != nil {
				t.Fatalf("after %s: %v", op, err)
			}
		}
		if op.Verb == state.Delete && wantsNow(p, op.ID) {
			t.Fatalf("%s, which is wanted", op)
		}
		if c.Turn != (ledger.Turn{}) && rnd.IntN(3) == 0 {
			p.Events([]source.Event{{}}) // a change waits: the plan is left off
		}
	}
	p.Synced()
	var events []source.Event
	for range rapid.IntRange(1, 12).Draw(t, "steps") {
		var batch []source.Event
		for range rapid.IntRange(1, 4).Draw(t, "events") {
			batch = append(batch, change(t))
		}
		events = append(events, batch...)
		p.Events(batch)
		switch rapid.IntRange(0, 5).Draw(t, "then") {
		case 0:
			meddle(t, fake)
			meddled = true
			compareAll(p)
		case 1: // the process dies and starts again
			p = New(faulty, c)
			p.Synced()
			p.Events(events)
		}
		p.round(context.Background())
		if r := p.Last(); meddled && r.Failing.All()+r.Left == 0 {
			meddled = false
		}
	}
	settle(t, p)
	for id, spec := range fake.State.All() {
		if server, _ := fake.State.Get(id.Server()); id.Kind == state.RealServer && spec.Value().Weight == 0 && server.Value().Scheduler == "dh" {
			t.Fatalf("%s has weight 0, and new connections that dh hashes to it fail", id)
		}
	}
	finishDrains(p, c)
	settle(t, p)
	fresh := newFake()
	q := New(fresh, c)
	q.Synced()
	q.Events(events)
	settle(t, q)
	fake.OnOp = nil
	if diff := cmp.Diff(lines(withoutSettings(fresh.State)), lines(withoutSettings(fake.State))); diff != "" {
		t.Fatalf("not what a start from nothing gives (-nothing +here):\n%s", diff)
	}
	quiet(t, p, fake)
	again := New(fake, c)
	again.Synced()
	again.Events(events)
	quiet(t, again, fake)
}

// compareAll makes the loop compare everything with the kernel, and repair it.
func compareAll(p *Proxier) {
	p.Audit()
	p.round(context.Background())
	p.checks.Wait()
	p.round(context.Background())
}

// quiet runs a full round, and fails if it writes.
func quiet(t *rapid.T, p *Proxier, fake *kernel.Fake) {
	before := fake.Writes
	compareAll(p)
	if n := fake.Writes - before; n != 0 {
		t.Fatalf("%d writes over a kernel that is as it should be", n)
	}
}

// withoutSettings leaves out the settings, which are never undone.
func withoutSettings(s *state.State) *state.State {
	out := &state.State{}
	for id, spec := range s.All() {
		if id.Kind != state.Setting {
			out.Put(id, spec)
		}
	}
	return out
}

// wantsNow reports whether the table has the object.
func wantsNow(p *Proxier, id state.ID) bool {
	table := p.cluster.Table()
	if table == nil || id.Kind == state.Flow {
		return false
	}
	for want := range table.All() {
		if want == id {
			return true
		}
	}
	return false
}

// meddle deletes or changes an object as another program does.
func meddle(t *rapid.T, fake *kernel.Fake) {
	var ids []state.ID
	for id := range fake.State.All() {
		if id.Kind == state.RealServer || id.Kind == state.Entry && id.Set != state.SetVIPs || id.Kind == state.VIP {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return
	}
	slices.SortFunc(ids, state.ID.Compare)
	id := ids[rapid.IntRange(0, len(ids)-1).Draw(t, "meddle with")]
	fake.State.Delete(id)
}
