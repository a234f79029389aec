package proxier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// Round is what one pass of the loop did. It must not be changed.
type Round struct {
	Number    uint64
	Started   time.Time
	Took      time.Duration
	Queued    time.Time        // when the oldest change came in that the round took; zero: it took none
	Changes   Changes          // that it took
	Full      bool             // everything was read from the kernel and compared by the round itself
	Audited   bool             // an audit beside the loop has ended with the round, and found nothing
	GivenUp   bool             // an audit beside the loop, or a look, did not come back
	Services  int              // that were rendered
	Ops       map[Write]int    // writes that succeeded
	Failures  []Failure        // writes that failed; they stay wanted and are retried
	Retried   int              // writes that were tried again
	Drift     []Drift          // what others had changed in the kernel, with Full
	Kernel    kernel.Stats     // what the round asked of the kernel
	Draining  int              // real servers that finish their connections
	Drains    []Drain          // of Draining, those that have been for the longest time
	Known     Known            // what the source has said, as it stands now
	Objects   map[string]int   // in the kernel, after the round, by kind
	Left      int              // writes that are still to come, since changes waited
	Failing   Failing          // writes that have failed and not succeeded since
	Unwritten []Unwritten      // of Failing, those that have failed for the longest time
	Problems  []model.Problem  // of what was asked for, as it stands now, sorted
	Triggers  []time.Time      // what changed the endpoints that the round programmed: EndpointSlice annotation endpoints.kubernetes.io/last-change-trigger-time
	Checks    []HealthCheck    // of all Services that have a health-check node port, sorted
	NodePort  []netip.Prefix   // node addresses that serve node ports; a family without any: all
	NodeIPs   []netip.Addr     // the node's own addresses, one a family at most
	NoLocal   map[Locality]int // Services without an endpoint on this node that their policy allows, though others have some
	Flows     Flows            // how far the deletion of conntrack entries is, after the round
	NotReady  string           // why something of what was there at the start is not programmed; empty: it is, from then on
	Err       error            // nothing was written, because something could not be read
}

// Write is a sort of write.
type Write struct{ Verb, Kind string } // as state.Verb and state.Kind print

// String returns verb and kind.
func (w Write) String() string { return w.Verb + " " + w.Kind }

// Changes counts what a source has said.
type Changes struct{ Services, Slices int }

// Known counts objects that are followed. Nodes of one cluster agree in it.
type Known struct {
	Services int // that are ours to serve
	Slices   int // EndpointSlices
}

// Drift is something of ours that somebody else changed.
type Drift struct {
	ID   state.ID
	What string // is gone, was changed, was added
}

// String says what happened to what.
func (d Drift) String() string { return d.ID.String() + " " + d.What }

// HealthCheck is a Service with a health-check node port.
type HealthCheck struct {
	Key   model.Key
	Port  uint16
	Local [2]int // different ready addresses on this node, IPv4 and IPv6
	UID   string // of the Service
}

// Locality is a traffic policy Local: of internal or external traffic, in a family.
type Locality struct {
	Policy string // internal or external
	Family string // IPv4 or IPv6
}

// Failure is a write that failed.
type Failure struct {
	Op  state.Op
	Err error
}

// String says what failed and why.
func (f Failure) String() string { return fmt.Sprintf("%s: %v", f.Op, f.Err) }

// Failed returns how many writes were tried in vain. What only waits for another write, of a
// plan that gave way to changes of others, is not among them.
func (r *Round) Failed() int {
	n := 0
	for _, f := range r.Failures {
		if !errors.Is(f.Err, kernel.ErrBlocked) {
			n++
		}
	}
	return n
}

// Writes returns how many writes succeeded.
func (r *Round) Writes() int {
	n := 0
	for _, c := range r.Ops {
		n += c
	}
	return n
}

// round takes what has come in and brings the kernel to it.
func (p *Proxier) round(ctx context.Context) {
	r := &Round{Started: time.Now(), Ops: map[Write]int{}}
	m := p.receive(r)
	if !p.loaded {
		p.waiting(r)
		return // nothing is known yet: what is programmed keeps working
	}
	p.rounds++
	r.Number = p.rounds
	before := p.kernel.Stats()
	start := p.actual == nil
	r.Full = start || p.stale && (p.rereadAt.IsZero() || due(p.rereadAt))
	p.work(ctx, r, start, m)
	r.Took = time.Since(r.Started)
	r.Kernel = r.Kernel.Plus(p.kernel.Stats().Since(before))
	if r.Err == nil && len(p.unfinished) == 0 {
		p.inbox.done()
	}
	p.report(r)
}

// work does a round; start says that it is the first.
func (p *Proxier) work(ctx context.Context, r *Round, start bool, m mail) {
	p.goOnAt = time.Time{}
	r.Err = p.endReadings(r, m.audited)
	p.heed(m)
	if r.Err == nil {
		r.Err = p.look(ctx, r)
	}
	if r.Err != nil {
		p.stale = true
		p.backOff()
		return
	}
	if start && p.objects[state.VirtualServer] == 0 {
		p.first(ctx, r)
	}
	left := len(p.unfinished)
	for _, w := range p.wants(ctx, r) {
		p.write(ctx, r, w, true)
	}
	p.goOn(ctx, r, left)
	p.drainRound(ctx, r)
	p.flows.written(r.Failures, p.ledger.of, p.actual, len(p.unfinished) == 0)
	p.inspect(ctx, r)
	p.schedule(r)
	r.Triggers, p.triggers = p.triggers, nil
}

// first programs what everything else in the cluster needs, before the rest is
// even rendered: on a node where nothing answers yet. Where something does, a
// virtual IP that two Services ask for might change hands for a moment.
func (p *Proxier) first(ctx context.Context, r *Round) {
	keys := p.model.First()
	p.probeSchedulers(ctx, keys, false)
	p.table.Refresh(tallying{p.model, p.tallies}, keys)
	p.write(ctx, r, wanted{some: p.table.Of(keys)}, false)
}

// receive takes the mail and applies it to the model.
func (p *Proxier) receive(r *Round) mail {
	m := p.inbox.take()
	r.Queued, r.Changes = m.since, m.changes
	p.model.Expect(m.changes.Services, m.changes.Slices)
	for _, e := range m.events {
		p.event(e)
	}
	if m.config != nil {
		p.reconfigure(*m.config)
	}
	if m.problems != nil {
		p.sources = *m.problems
	}
	if m.synced && !p.synced {
		p.stale, p.rereadAt = true, time.Time{} // from now on objects that no Service needs may go
	}
	p.loaded = p.loaded || m.loaded
	p.synced = p.synced || m.synced
	if m.facts && p.factsAt.IsZero() {
		p.factsAt = p.factsRead.Add(factsInterval)
	}
	return m
}

func (p *Proxier) event(e source.Event) {
	if e.Slice != nil {
		p.names.slice(e.Slice, e.Deleted)
	}
	switch {
	case e.Service != nil && e.Deleted:
		p.model.DeleteService(model.Key{Namespace: e.Service.Namespace, Name: e.Service.Name})
	case e.Service != nil:
		p.model.ApplyService(e.Service, e.Origin)
	case e.Slice != nil && e.Deleted:
		p.model.DeleteSlice(e.Slice.Namespace, e.Slice.Name)
	case e.Slice != nil:
		p.model.ApplySlice(e.Slice, e.Origin)
		p.trigger(e.Slice)
	case e.Node != nil && e.Node.Name == p.config.Desired.NodeName && !e.Deleted:
		p.model.SetNode(model.Node{Name: e.Node.Name, Zone: cmp.Or(p.config.Zone, e.Node.Labels[corev1.LabelTopologyZone])})
		p.node.read(e.Node, p.config)
	}
}

// look reads what the round must know. An error means that nothing may be
// written.
func (p *Proxier) look(ctx context.Context, r *Round) error {
	if p.table == nil || due(p.factsAt) {
		facts, err := p.kernel.Facts(ctx)
		switch {
		case err != nil && p.table == nil:
			return fmt.Errorf("read the node's addresses: %w", err)
		case err != nil:
			p.factsAt = time.Now().Add(factsInterval)
			p.log.Warn("the node's addresses cannot be read; those known are used", "err", err)
		default:
			p.factsAt, p.factsRead = time.Time{}, time.Now()
			p.setFacts(r, facts)
		}
	}
	p.configure(r)
	if !r.Full {
		return nil
	}
	if err := p.readKernel(ctx, r); err != nil {
		return err
	}
	p.bind(r)
	return nil
}

// setFacts renders everything anew if the facts are.
func (p *Proxier) setFacts(r *Round, facts state.Facts) {
	switch {
	case p.table == nil:
		p.table = desired.NewTable(p.config.Desired, facts)
		p.expect()
		p.facts = facts // nothing has been rendered yet, so that all is dirty
		return
	case sameFacts(p.facts, facts):
		p.facts = facts
		return
	default:
		p.table.SetFacts(facts)
	}
	p.facts = facts
	p.renderAll(r)
}

// renderAll has everything rendered anew, and compared with the kernel.
func (p *Proxier) renderAll(r *Round) {
	p.model.SetAllDirty()
	r.Full, p.stale = true, true // stale: Full once more if the read fails now
}

// wanted is what a round must compare.
type wanted struct {
	some  []state.Want
	all   *desired.Table // not nil: all of its objects too, and everything else must go
	retry bool           // some has failed before
	large bool           // some is of a Service with many objects: rounds of their own write it
}

// wants renders what is dirty and returns what the round must compare, in parts
// that have plans of their own: what the cluster hangs on comes first, a Service
// with many objects last.
func (p *Proxier) wants(ctx context.Context, r *Round) []wanted {
	keys := p.model.TakeDirty()
	p.probeSchedulers(ctx, keys, r.Full || r.Audited)
	keys = append(keys, p.model.TakeDirty()...)
	r.Services = len(keys)
	views := tallying{p.model, p.tallies}
	var parts []wanted
	if r.Full {
		p.table.Refresh(views, keys)
		parts = []wanted{{all: p.table, some: p.config.Desired.TakenBack(p.actual)}}
	} else {
		for _, g := range p.groups(keys) {
			parts = append(parts, wanted{some: p.table.Update(views, g.keys), large: g.large})
		}
		if due(p.retryAt) {
			parts = append(parts, wanted{some: p.failed(r), retry: true})
		}
		parts = lastWord(parts)
	}
	p.names.update(p.config.Desired, p.table, p.model, keys)
	return parts
}

// group are Services that have a plan together.
type group struct {
	keys  []model.Key
	large bool // the one has many objects
}

// groups splits keys, which are in the order of model.Keys.
func (p *Proxier) groups(keys []model.Key) []group {
	var first, rest group
	var large []group
	for _, k := range keys {
		switch {
		case p.isLarge(k):
			large = append(large, group{[]model.Key{k}, true})
		case p.model.IsFirst(k):
			first.keys = append(first.keys, k)
		default:
			rest.keys = append(rest.keys, k)
		}
	}
	all := append([]group{first, rest}, large...)
	return slices.DeleteFunc(all, func(g group) bool { return len(g.keys) == 0 })
}

// isLarge reports whether a Service has, or is to have, so many objects that it
// gets a plan of its own.
func (p *Proxier) isLarge(k model.Key) bool {
	return max(p.table.Objects(k), p.model.Objects(k)) > p.turn.writes
}

// lastWord leaves each object to the last of the parts that is about it, but what
// has failed before to any other.
func lastWord(parts []wanted) []wanted {
	if len(parts) < 2 {
		return parts
	}
	named := map[state.ID]bool{}
	for i := range slices.Backward(parts) {
		if parts[i].retry {
			continue
		}
		parts[i].some = unnamed(parts[i].some, named)
	}
	for i := range parts {
		if parts[i].retry {
			parts[i].some = unnamed(parts[i].some, named)
		}
	}
	return parts
}

// unnamed returns those of wants that are not named, and names them.
func unnamed(wants []state.Want, named map[state.ID]bool) []state.Want {
	out := wants[:0]
	for _, w := range wants {
		if !named[w.ID] {
			named[w.ID] = true
			out = append(out, w)
		}
	}
	return out
}

// failed returns what has failed and is to be tried again, sorted.
func (p *Proxier) failed(r *Round) []state.Want {
	var out []state.Want
	for _, s := range p.ledger.of {
		if s.dueNow() {
			out = append(out, s.want)
		}
	}
	slices.SortFunc(out, func(a, b state.Want) int { return a.ID.Compare(b.ID) })
	r.Retried += len(out)
	return out
}

// diff returns the writes that w comes to.
func (p *Proxier) diff(w wanted) []state.Op {
	if w.all == nil {
		return state.Diff(w.some, p.actual, p)
	}
	ops, others := state.Bring(w.all.All(), w.all.Len(), p.actual)
	ops = append(ops, state.Diff(others, p.actual, p)...)
	return append(ops, state.Diff(w.some, p.actual, p)...)
}
