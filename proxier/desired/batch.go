package desired

import (
	"slices"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// batch collects the objects that one Update touches. Within one Update an object may
// pass from one Service to another, and a Service may be rendered twice, so that only
// the end of it shows which objects are wanted.
type batch struct {
	table    *Table
	quiet    bool // no touched objects are collected
	own      map[state.ID]touch
	order    []state.ID        // touched objects, in the order in which they came up
	affected []*service        // Services that must be rendered too
	queued   map[*service]bool // those in affected

	// Memory for one Service.
	render    render
	frontends frontends
	had       Fragment
	hadClaims []claim
	hadSpecs  map[state.ID]state.SpecRef
	packer    state.Packer
}

// touch is the present owner and content of a touched object.
type touch struct {
	by   *service // the Service that got it last; nil: none has it, or it is shared
	spec state.SpecRef
}

func newBatch(t *Table) *batch {
	return &batch{table: t, own: map[state.ID]touch{}, hadSpecs: map[state.ID]state.SpecRef{}, queued: map[*service]bool{}}
}

// reset begins an Update.
func (b *batch) reset(quiet bool) {
	b.quiet, b.order, b.affected = quiet, b.order[:0], nil
	clear(b.own)
	clear(b.queued)
	b.render.config, b.render.facts = &b.table.config, b.table.facts
}

// large reports whether b has too much memory to be kept for the next Update.
func (b *batch) large() bool {
	const many = 1000
	return len(b.order) > many || cap(b.render.out.Own) > many || cap(b.had.Own) > many
}

// update renders one Service and notes others that must be rendered too.
func (b *batch) update(views Views, key model.Key) {
	t := b.table
	s := t.services.Get(key)
	view, ok := views.View(key)
	switch {
	case !ok && s == nil:
		return
	case s == nil:
		s = &service{rank: rank{key: key}}
		t.services.Put(s)
		t.order = append(t.order, s)
	}
	b.had = Fragment{b.had.Own[:0], b.had.Shared[:0]}
	b.hadClaims = s.parts(&b.had, b.hadClaims[:0])
	if !ok {
		b.reclaim(s, b.hadClaims, nil)
		b.replace(s, Fragment{})
		t.remove(s)
		if key == apiServer {
			t.guard.serves(model.View{})
			b.protect()
		}
		return
	}
	if r := (rank{created: view.Created.Unix(), key: key}); r != s.rank {
		b.reclaim(s, b.hadClaims, nil) // claims are ordered by rank: enter anew
		b.hadClaims, s.rank = b.hadClaims[:0], r
	}
	t.list(&b.frontends, view.Service)
	t.guard.admit(t.config.Protected, view, &b.frontends)
	b.reclaim(s, b.hadClaims, b.frontends.claims)
	wrong := b.frontends.wrong
	b.render.service(view, b.frontends.all, func(f *Frontend) bool { return b.owns(s, f, &wrong) })
	b.replace(s, b.render.out)
	b.keep(s)
	t.faults(s, view, &b.frontends, &wrong)
	t.board.Set(topic(key), wrong.problems(view))
	if key == apiServer {
		t.guard.serves(view)
		b.protect()
	}
}

// owns reports whether s has a frontend. If not, it adds the reason to wrong.
func (b *batch) owns(s *service, f *Frontend, wrong *faults) bool {
	t := b.table
	if len(t.rivals) == 0 {
		return true // each claim is the only one
	}
	switch t.winner(s, f) {
	case nil:
		return true
	case t.guard.service:
		wrong.add(f.field(), f.String(), "left out: an API server that this node needs answers there")
	default:
		wrong.add(f.field(), f.String(), "left out: another Service has the same address and port, and comes first: "+
			"the one whose ClusterIP it is, else the older one, else the first by name")
	}
	return false
}

// affect queues a Service to be rendered too.
func (b *batch) affect(s *service) {
	if !b.queued[s] {
		b.queued[s] = true
		b.affected = append(b.affected, s)
	}
}

// keep packs the rendered objects and claims into s.
func (b *batch) keep(s *service) {
	out := &b.render.out
	for i := range out.Own {
		b.packer.Add(out.Own[i].ID, out.Own[i].Spec)
	}
	for i := range out.Shared {
		b.packer.Add(out.Shared[i].ID, out.Shared[i].Spec)
	}
	for _, c := range b.frontends.claims {
		b.packer.Add(c.id, classSpecs[c.class])
	}
	s.kept, s.own, s.both = b.packer.Done(), int32(len(out.Own)), int32(len(out.Own)+len(out.Shared))
}

// reclaim replaces the claims of s, and queues the Services that win or lose one by it.
func (b *batch) reclaim(s *service, had, claims []claim) {
	if slices.Equal(had, claims) {
		return
	}
	note := func(other *service) {
		if other != nil && other != s {
			b.affect(other)
		}
	}
	var kept map[claim]bool // the claims of had; true: claims has it too
	if len(had) > 0 && len(claims) > 0 {
		kept = make(map[claim]bool, len(had))
		for _, c := range had {
			kept[c] = false
		}
		for _, c := range claims {
			if _, both := kept[c]; both {
				kept[c] = true
			}
		}
	}
	for _, c := range had {
		if !kept[c] {
			note(b.table.release(s, c))
		}
	}
	for _, c := range claims {
		if !kept[c] {
			note(b.table.claim(s, c))
		}
	}
}

// replace touches the objects in which s differs from before.
func (b *batch) replace(s *service, now Fragment) {
	if !b.quiet {
		b.replaceOwn(s, now)
	}
	for i := range now.Shared {
		b.count(&now.Shared[i], 1)
	}
	for i := range b.had.Shared {
		b.count(&b.had.Shared[i], -1)
	}
}

func (b *batch) replaceOwn(s *service, now Fragment) {
	clear(b.hadSpecs)
	for i := range b.had.Own {
		b.hadSpecs[b.had.Own[i].ID] = b.had.Own[i].Spec
	}
	for i := range now.Own {
		// An object that s keeps is touched too if another Service got it earlier in
		// this batch.
		o := &now.Own[i]
		spec, had := b.hadSpecs[o.ID]
		if before, touched := b.own[o.ID]; !had || !spec.Equal(o.Spec) || touched && before.by != s {
			b.touch(o.ID, touch{by: s, spec: o.Spec})
		}
		delete(b.hadSpecs, o.ID)
	}
	for i := range b.had.Own {
		id := b.had.Own[i].ID
		if _, left := b.hadSpecs[id]; !left {
			continue
		}
		if by := b.own[id].by; by == nil || by == s {
			b.touch(id, touch{})
		}
	}
}

// count adds n references to a shared object. The last content counts; it depends on the
// node alone, so that all Services agree.
func (b *batch) count(o *state.Object, n int) {
	if o.ID.Set == state.SetVIPs {
		return // the entry goes with its VIP
	}
	t := b.table
	sh, known := t.shared.Get(o.ID)
	touched := !known || n > 0 && !sh.spec.Equal(o.Spec)
	if !known || n > 0 {
		sh.spec = o.Spec
	}
	if sh.refs += n; sh.refs == 0 {
		t.shared.Delete(o.ID)
		touched = true
	} else {
		t.shared.Put(o.ID, sh)
	}
	if !touched {
		return
	}
	if o.ID.Kind == state.VIP && (!known || sh.refs == 0) {
		b.touch(state.VIPEntryID(o.ID.Addr()), touch{})
	}
	b.touch(o.ID, touch{})
}

func (b *batch) touch(id state.ID, t touch) {
	if b.quiet {
		return
	}
	if _, again := b.own[id]; !again {
		b.order = append(b.order, id)
	}
	b.own[id] = t
}

// wants returns the touched objects as they are wanted in the end, each ID once.
func (b *batch) wants() []state.Want {
	out := make([]state.Want, 0, len(b.order))
	for _, id := range b.order {
		w := state.Want{ID: id}
		if t := b.own[id]; t.by != nil {
			w.Spec, w.Present = t.spec, true
		} else if id.Set == state.SetVIPs {
			w.Spec, w.Present = state.None, b.table.shared.Has(state.VIPID(id.Addr()))
		} else if sh, ok := b.table.shared.Get(id); ok {
			w.Spec, w.Present = sh.spec, true
		}
		out = append(out, w)
	}
	return out
}
