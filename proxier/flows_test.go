package proxier

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/ledger"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// opened is a flow that a client has opened, and why it may stay.
type opened struct {
	kernel.Flow
	entry state.ID // the entry that published the dialled address; zero: the flow went straight to the endpoint, or by a foreign host port
}

// clients open flows, as the rules and IPVS allow, and find the deleted ones.
type clients struct {
	config desired.Config
	fake   *kernel.Fake
	opened []opened
}

// open opens a flow through each published UDP frontend.
func (c *clients) open(t *rapid.T) {
	var entries []state.ID
	for id := range c.fake.State.All() {
		if id.Kind == state.Entry && id.Set.Publishes() && id.Proto == state.UDP {
			entries = append(entries, id)
		}
	}
	slices.SortFunc(entries, state.ID.Compare)
	for _, entry := range entries {
		to, node := entry.AddrPort(), entry.Bits != 0
		if node {
			if to = netip.AddrPortFrom(nodeFacts.NodeIP(entry.Family()), entry.Port); !entry.Flows().Network().Contains(to.Addr()) {
				continue
			}
		}
		for _, server := range c.config.Servers(entry) {
			if real, ok := c.choose(t, server); ok && !c.has(to, real.Endpoint(), entry) {
				c.track(kernel.Flow{Proto: state.UDP, To: to, By: real.Endpoint(), Node: node, Answered: rapid.Bool().Draw(t, "answered")}, entry)
			}
		}
	}
}

// has reports whether there is such a flow: one is enough.
func (c *clients) has(to, by netip.AddrPort, entry state.ID) bool {
	return slices.ContainsFunc(c.opened, func(o opened) bool { return o.To == to && o.By == by && o.entry == entry })
}

func (c *clients) choose(t *rapid.T, server state.ID) (state.ID, bool) {
	var reals []state.ID
	for id, spec := range c.fake.State.All() {
		if id.Kind == state.RealServer && id.Server() == server && spec.Value().Weight > 0 {
			reals = append(reals, id)
		}
	}
	if len(reals) == 0 {
		return state.ID{}, false
	}
	slices.SortFunc(reals, state.ID.Compare)
	return reals[rapid.IntRange(0, len(reals)-1).Draw(t, "real server")], true
}

func (c *clients) track(flow kernel.Flow, entry state.ID) {
	c.opened = append(c.opened, opened{flow, entry})
	c.fake.Track(flow)
}

// strangers opens flows to no frontend of kube-ipvs.
func (c *clients) strangers() {
	at := netip.MustParseAddrPort
	for _, f := range []kernel.Flow{
		{To: at("10.244.0.1:53"), By: at("10.244.0.1:53")},
		{To: at("192.168.50.1:8053"), By: at("10.244.0.1:53"), Node: true},
		{To: at("8.8.8.8:53"), By: at("8.8.8.8:53"), Answered: true},
	} {
		f.Proto = state.UDP
		c.track(f, state.ID{})
	}
}

// rightful reports whether the model says of a flow that it may stay.
func (c *clients) rightful(p *Proxier, o opened) bool {
	if o.entry == (state.ID{}) {
		return true
	}
	want, ok := wantedAt(p, o.entry)
	if !ok {
		return false
	}
	v, _ := p.cluster.Model().View(want.key)
	return slices.Contains(v.Endpoints[o.entry.Family()][want.port].Serving, o.By)
}

// forget drops the flows of removed frontends, which a process that starts cannot know.
func (c *clients) forget() {
	c.opened = slices.DeleteFunc(c.opened, func(o opened) bool {
		id := o.entry
		for _, set := range state.SetNames() {
			if id.Set = set; set.Publishes() && c.fake.State.Has(id) {
				return false
			}
		}
		return o.entry != (state.ID{})
	})
}

type servicePort struct {
	key  model.Key
	port int
}

// wantedAt returns the Service port of a frontend with any policy.
func wantedAt(p *Proxier, entry state.ID) (servicePort, bool) {
	for _, key := range p.cluster.Model().Keys() {
		s, _ := p.cluster.Model().Service(key)
		for _, f := range p.cluster.Table().Frontends(s) {
			if f.Lost != (model.Key{}) || f.Proto != entry.Proto || f.Addr.Port() != entry.Port || f.Addr.Addr().Is4() != entry.Addr().Is4() {
				continue
			}
			if (f.Reach == desired.NodePort) == (entry.Bits != 0) && (entry.Bits != 0 || f.Addr == entry.AddrPort()) {
				return servicePort{key, f.Port}, true
			}
		}
	}
	return servicePort{}, false
}

// With random changes of Services and endpoints, failing writes and sweeps, and restarts, the sweeper never
// deletes a flow to an endpoint that still answers, nor a flow to no frontend of kube-ipvs. In the end it
// deletes each flow to a removed endpoint.
func TestFlowsThatEnd(t *testing.T) {
	for _, mode := range []desired.Mode{desired.Direct, desired.Image} {
		for _, faults := range []float64{0, 0.1} {
			t.Run(fmt.Sprintf("%s/%v", mode, faults), func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) { flowsThatEnd(t, mode, faults) })
			})
		}
	}
}

func flowsThatEnd(t *rapid.T, mode desired.Mode, faults float64) {
	config := testConfig(mode)
	fake := newFake()
	rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	faulty := &kernel.Faulty{Kernel: fake, Share: faults, Rand: rnd}
	if rapid.Bool().Draw(t, "short turns") {
		config.Turn = ledger.Turn{Writes: rapid.IntRange(1, 20).Draw(t, "writes"), AtOnce: rapid.IntRange(1, 5).Draw(t, "at once")}
	}
	p := New(faulty, config)
	c := &clients{config: config.Desired, fake: fake}
	fake.OnFlowGone(func(flow kernel.Flow) {
		at := slices.IndexFunc(c.opened, func(o opened) bool { return o.Flow == flow })
		if at < 0 {
			return // see forget
		}
		if o := c.opened[at]; c.rightful(p, o) {
			t.Fatalf("deleted %+v, which may stay", o)
		}
		c.opened = slices.Delete(c.opened, at, at+1)
	})
	c.strangers()
	p.Synced()
	var events []source.Event
	for range rapid.IntRange(1, 12).Draw(t, "steps") {
		var batch []source.Event
		for range rapid.IntRange(1, 3).Draw(t, "events") {
			batch = append(batch, change(t))
		}
		events = append(events, batch...)
		p.Events(batch)
		if rapid.IntRange(0, 7).Draw(t, "restart") == 0 {
			c.forget()
			p = New(faulty, config)
			p.Synced()
			p.Events(events)
		}
		fake.OnOp = func(state.Op) {
			if rapid.IntRange(0, 9).Draw(t, "client") == 0 {
				c.open(t)
			}
			if config.Turn != (ledger.Turn{}) && rnd.IntN(3) == 0 {
				p.Events([]source.Event{{}}) // a change waits: the plan is left off
			}
		}
		p.round(context.Background())
		fake.OnOp = nil
		c.open(t)
		if rapid.Bool().Draw(t, "sweep") {
			if faults > 0 && rapid.Bool().Draw(t, "sweep fails") {
				fake.FailFlows(kernel.ErrInjected)
			}
			_ = sweepNow(p, fake)
			fake.FailFlows(nil)
		}
	}
	settle(t, p)
	if err := sweepNow(p, fake); err != nil {
		t.Fatal(err)
	}
	for _, o := range c.opened {
		if !c.rightful(p, o) {
			t.Fatalf("left %+v, which must go", o)
		}
	}
	if w := p.sweeper.Sum().Waiting; w != 0 {
		t.Fatalf("%d frontends wait still", w)
	}
	if err := p.sweeper.Sweep(context.Background(), nil); err != nil { // there is nothing to look through
		t.Fatal(err)
	}
}
