package desired

import (
	"iter"
	"net/netip"
	"slices"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Table holds the objects that every Service needs in the kernel, and turns changes of
// Services into the objects that they touch. Only one goroutine may use it.
type Table struct {
	config   Config
	facts    state.Facts
	skeleton []state.Object
	services model.Index[*service]
	order    []*service              // services, for sorted; may still have some that are gone
	owners   state.Map[claimant]     // by claimed object
	rivals   map[state.ID][]claimant // the other claimants of an object, best first
	shared   state.Map[share]        // without the entries of VIPs: each goes with its VIP
	board    model.Board             // problems of Services that cannot be rendered as asked for
	guard    guard
	batch    *batch // memory for Update
}

// service is a Service with its rendered objects.
type service struct {
	rank rank
	kept state.Packed // own objects, then shared ones, then claims
	own  int32        // number of own objects in kept
	both int32        // number of own and shared objects in kept
	gone bool         // removed from the Table
}

// Named is part of model.Keyed.
func (s *service) Named() model.Key { return s.rank.key }

// parts appends the objects of s to to, and its claims to claims.
func (s *service) parts(to *Fragment, claims []claim) []claim {
	at := int32(0)
	for id, spec := range s.kept.All() {
		switch o := (state.Object{ID: id, Spec: spec}); {
		case at < s.own:
			to.Own = append(to.Own, o)
		case at < s.both:
			to.Shared = append(to.Shared, o)
		default:
			claims = append(claims, claim{id, classOf(spec)})
		}
		at++
	}
	return claims
}

// objects calls each with the own and the shared objects of s.
func (s *service) objects(each func(o state.Object, shared bool)) {
	at := int32(0)
	for id, spec := range s.kept.All() {
		if at == s.both {
			return
		}
		each(state.Object{ID: id, Spec: spec}, at >= s.own)
		at++
	}
}

// share is an object that several Services may need.
type share struct {
	spec state.SpecRef
	refs int
}

// NewTable returns an empty table for a node.
func NewTable(c Config, f state.Facts) *Table {
	return &Table{
		config: c, facts: f, skeleton: Skeleton(c),
		rivals: map[state.ID][]claimant{}, guard: newGuard(),
	}
}

// SetFacts replaces the facts. Then the caller must Update every Service, and compare all
// objects with the kernel.
func (t *Table) SetFacts(f state.Facts) { t.facts = f }

// SetConfig replaces the configuration, with the duties of SetFacts.
func (t *Table) SetConfig(c Config) { t.config, t.skeleton = c, Skeleton(c) }

// list makes fs the frontends that a Service asks for and can have, including those that
// other Services have.
func (t *Table) list(fs *frontends, s *model.Service) {
	fs.list(&t.config, s, func(a netip.Addr) bool { return t.barred(s.Key, a) != "" })
}

// Served calls each with every virtual server of a Service, the port that it serves, and
// the kind of its frontend.
func (t *Table) Served(v *model.Service, each func(state.ID, model.Port, Reach)) {
	s := t.services.Get(v.Key)
	if s == nil {
		return
	}
	var fs frontends
	t.list(&fs, v)
	for i := range fs.all {
		f := &fs.all[i]
		if t.winner(s, f) != nil {
			continue
		}
		each(f.Server, v.Ports[f.Port], f.Reach)
		if f.LocalServer != (state.ID{}) {
			each(f.LocalServer, v.Ports[f.Port], f.Reach)
		}
	}
}

// Owner returns the Service that has a virtual server.
func (t *Table) Owner(server state.ID) (key model.Key, ok bool) {
	s := t.owner(server)
	if s == nil { // it stands at the frontend's own address
		s = t.owner(state.EntryID(state.SetAll, server.Proto, server.AddrPort()))
	}
	if s == nil {
		return key, false
	}
	return s.rank.key, true
}

// Owners returns the Service that needs each object in ids; of several the first by rank.
// It looks at all Services.
func (t *Table) Owners(ids map[state.ID]bool) map[state.ID]model.Key {
	best := map[state.ID]*service{}
	for s := range t.services.All() {
		s.objects(func(o state.Object, _ bool) {
			if old := best[o.ID]; ids[o.ID] && (old == nil || s.rank.compare(old.rank) < 0) {
				best[o.ID] = s
			}
		})
	}
	out := make(map[state.ID]model.Key, len(best))
	for id, s := range best {
		out[id] = s.rank.key
	}
	return out
}

// Views gives access to the Services of a model.
type Views interface {
	View(model.Key) (model.View, bool)
}

// Update renders the named Services anew, and those that win or lose a frontend by it. It
// returns each object that this touched, as it is wanted now.
func (t *Table) Update(views Views, keys []model.Key) []state.Want {
	return t.render(views, keys, false).wants()
}

// Refresh is Update for a caller that uses All afterwards, not the touched objects.
func (t *Table) Refresh(views Views, keys []model.Key) { t.render(views, keys, true) }

func (t *Table) render(views Views, keys []model.Key, quiet bool) *batch {
	b := t.batch
	if b == nil {
		b = newBatch(t)
	}
	b.reset(quiet)
	if len(keys) > 2*t.services.Len() {
		t.services.Expect(len(keys))
	}
	b.protect()
	for _, key := range keys {
		b.update(views, key)
	}
	for len(b.affected) > 0 { // ends, since a claim passes only to the Service that ranks best for it
		s := b.affected[0]
		b.affected = b.affected[1:]
		delete(b.queued, s)
		b.update(views, s.rank.key)
	}
	if t.batch = b; b.large() {
		t.batch = nil
	}
	return b
}

// Objects returns how many objects a Service needed when it was last rendered.
func (t *Table) Objects(key model.Key) int {
	s := t.services.Get(key)
	if s == nil {
		return 0
	}
	return int(s.both)
}

// Len returns the number of wanted objects.
func (t *Table) Len() int {
	n := len(t.skeleton) + t.shared.Len()
	for _, s := range t.sorted() { // mostly in the order of memory
		n += int(s.own)
	}
	for id := range t.shared.All() {
		if id.Kind == state.VIP {
			n++ // its entry
		}
	}
	return n
}

// All yields every wanted object: the skeleton, the Services' own objects by rank, and the
// shared ones, in the order in which they came up unless some have gone.
func (t *Table) All() iter.Seq2[state.ID, state.SpecRef] {
	return func(yield func(state.ID, state.SpecRef) bool) {
		for _, o := range t.skeleton {
			if !yield(o.ID, o.Spec) {
				return
			}
		}
		for _, s := range t.sorted() {
			left := s.own
			for id, spec := range s.kept.All() {
				if left--; left < 0 {
					break
				}
				if !yield(id, spec) {
					return
				}
			}
		}
		for id, s := range t.shared.All() {
			if id.Kind == state.VIP && !yield(state.VIPEntryID(id.Addr()), state.None) {
				return
			}
			if !yield(id, s.spec) {
				return
			}
		}
	}
}

// Of returns the objects of the skeleton and of the named Services: enough to make these
// Services answer before all others.
func (t *Table) Of(keys []model.Key) []state.Want {
	seen := map[state.ID]bool{}
	var out []state.Want
	add := func(o state.Object, _ bool) {
		if !seen[o.ID] {
			seen[o.ID] = true
			out = append(out, state.Want{ID: o.ID, Spec: o.Spec, Present: true})
		}
	}
	for _, o := range t.skeleton {
		add(o, true)
	}
	for _, k := range keys {
		if s := t.services.Get(k); s != nil {
			s.objects(add)
		}
	}
	return out
}

// Board returns the problems of Services that cannot be rendered as asked for.
func (t *Table) Board() *model.Board { return &t.board }

// Explain returns the reason for each wanted object. It renders every Service again.
func (t *Table) Explain(views Views) map[state.ID]string {
	why := map[state.ID]string{}
	var fs frontends
	for _, s := range t.sorted() {
		v, ok := views.View(s.rank.key)
		if !ok {
			continue
		}
		r := render{config: &t.config, facts: t.facts, because: func(id state.ID, text string) {
			if why[id] == "" {
				why[id] = s.rank.key.String() + ": " + text
			}
		}}
		t.list(&fs, v.Service)
		r.service(v, fs.all, func(f *Frontend) bool { return t.winner(s, f) == nil })
	}
	return why
}

// sorted returns the Services by rank. It is quick if they are in order already, as mostly.
func (t *Table) sorted() []*service {
	t.tidy()
	slices.SortFunc(t.order, func(a, b *service) int { return a.rank.compare(b.rank) })
	return t.order
}

// remove removes s from the Table.
func (t *Table) remove(s *service) {
	t.services.Delete(s.rank.key)
	t.board.Set(topic(s.rank.key), nil)
	delete(t.guard.barred, s)
	s.gone = true
	if len(t.order) > 2*t.services.Len() {
		t.tidy()
	}
}

// tidy removes the Services from t.order that are gone.
func (t *Table) tidy() {
	t.order = slices.DeleteFunc(t.order, func(s *service) bool { return s.gone })
}
