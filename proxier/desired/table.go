package desired

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Table holds what every Service needs in the kernel, and turns a change of
// some Services into the objects that it touches. Only one goroutine may use it.
type Table struct {
	config   Config
	facts    state.Facts
	skeleton []state.Object
	services model.Index[*service]
	order    []*service              // of services, for sorted; those that have gone may be in it still
	owners   state.Map[*service]     // by claim
	rivals   map[state.ID][]*service // who else claims it, best first
	shared   state.Map[share]        // but for the entries that make VIPs ours: each goes with its VIP
	troubled map[*service]trouble    // those with problems or lost frontends
	batch    *batch                  // memory for Update
}

// service is what the Table keeps of a Service.
type service struct {
	rank rank
	kept state.Packed // own objects, then shared ones, then claims
	own  int32        // of kept
	both int32        // own and shared, of kept
	gone bool         // from the Table
}

// Named is part of model.Keyed.
func (s *service) Named() model.Key { return s.rank.key }

// parts appends what is kept of s.
func (s *service) parts(to *Fragment, claims []state.ID) []state.ID {
	at := int32(0)
	for id, spec := range s.kept.All() {
		switch o := (state.Object{ID: id, Spec: spec}); {
		case at < s.own:
			to.Own = append(to.Own, o)
		case at < s.both:
			to.Shared = append(to.Shared, o)
		default:
			claims = append(claims, id)
		}
		at++
	}
	return claims
}

// objects calls each with what s has, of itself alone or with others.
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

// trouble is what is wrong with a Service here.
type trouble struct {
	origin, uid string
	lost        []loss
	problems    []model.Problem
}

// rank orders rivals: the older Service wins, then the lesser name, so that
// every node and every restart decides alike.
type rank struct {
	created int64
	key     model.Key
}

func (a rank) compare(b rank) int {
	if a.created != b.created {
		return cmp.Compare(a.created, b.created)
	}
	return a.key.Compare(b.key)
}

// loss is a frontend that another Service has.
type loss struct {
	frontend frontend
	claim    state.ID
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
		rivals: map[state.ID][]*service{}, troubled: map[*service]trouble{},
	}
}

// SetFacts replaces the facts. The caller must Update every Service after it,
// and compare in full.
func (t *Table) SetFacts(f state.Facts) { t.facts = f }

// SetConfig replaces the configuration, with the duties of SetFacts.
func (t *Table) SetConfig(c Config) { t.config, t.skeleton = c, Skeleton(c) }

// Served calls each with the virtual servers that a Service has, the port
// that they serve, and how clients reach it by them.
func (t *Table) Served(v *model.Service, each func(state.ID, model.Port, Reach)) {
	s := t.services.Get(v.Key)
	if s == nil {
		return
	}
	var fs frontends
	fs.list(&t.config, v)
	for i := range fs.all {
		f := &fs.all[i]
		if _, lost := t.lost(s, f); lost {
			continue
		}
		each(f.server, v.Ports[f.port], f.reach)
		if f.localServer != (state.ID{}) {
			each(f.localServer, v.Ports[f.port], f.reach)
		}
	}
}

// Owners returns for which Service each object is wanted that is named in ids;
// the first of those that share it. It looks at all Services.
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

// Update renders the named Services anew, with those that win or lose a
// frontend by it, and returns what is wanted of each object that this touched.
func (t *Table) Update(views Views, keys []model.Key) []state.Want {
	return t.render(views, keys, false).wants()
}

// Refresh is Update where nobody asks what was touched, since All follows.
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
	for _, key := range keys {
		b.update(views, key)
	}
	for len(b.affected) > 0 { // ends: a claim passes only to whoever ranks best for it
		key := b.affected[0]
		b.affected = b.affected[1:]
		b.update(views, key)
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

// Len returns how many objects are wanted.
func (t *Table) Len() int {
	n := len(t.skeleton) + t.shared.Len()
	for _, s := range t.sorted() { // as they lie in memory, mostly
		n += int(s.own)
	}
	for id := range t.shared.All() {
		if id.Kind == state.VIP {
			n++ // its entry
		}
	}
	return n
}

// All goes through everything that is wanted: the skeleton, what Services have of
// their own, by rank, and what they share, in the order in which it came up unless
// some of it has gone.
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

// Of returns what the skeleton and the named Services need: enough to make
// those answer before all others.
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

// Problems returns what could not be rendered as asked for, in no order.
func (t *Table) Problems() []model.Problem {
	var out []model.Problem
	for s, wrong := range t.troubled {
		out = append(out, wrong.problems...)
		for _, l := range wrong.lost {
			p := model.Problem{UID: wrong.uid, Origin: wrong.origin, Object: "Service " + s.rank.key.String(), Field: l.frontend.field()}
			p.Message = fmt.Sprintf("%s is left out: Service %s, which is older or comes first by name, has the same address and port", &l.frontend, t.owner(l.claim).rank.key)
			out = append(out, p)
		}
	}
	return out
}

// Explain returns why each object is wanted, by rendering everything again.
func (t *Table) Explain(views Views) map[state.ID]string {
	why := map[state.ID]string{}
	for _, s := range t.sorted() {
		v, ok := views.View(s.rank.key)
		if !ok {
			continue
		}
		owns := func(f *frontend) bool {
			_, lost := t.lost(s, f)
			return !lost
		}
		Render(t.config, t.facts, v, owns, func(id state.ID, text string) {
			if why[id] == "" {
				why[id] = s.rank.key.String() + ": " + text
			}
		})
	}
	return why
}

// sorted returns the Services by rank. It is quick where they are in order
// already, as mostly: they came so, or were sorted before.
func (t *Table) sorted() []*service {
	t.tidy()
	slices.SortFunc(t.order, func(a, b *service) int { return a.rank.compare(b.rank) })
	return t.order
}

// remove takes s out.
func (t *Table) remove(s *service) {
	t.services.Delete(s.rank.key)
	delete(t.troubled, s)
	s.gone = true
	if len(t.order) > 2*t.services.Len() {
		t.tidy()
	}
}

// tidy takes out of t.order those that have gone.
func (t *Table) tidy() {
	t.order = slices.DeleteFunc(t.order, func(s *service) bool { return s.gone })
}

// lost returns the first claim of f that s does not have, if any.
func (t *Table) lost(s *service, f *frontend) (claim state.ID, lost bool) {
	var claims [3]state.ID // as many as a frontend has at most
	for _, id := range f.claims(claims[:0]) {
		if t.owner(id) != s {
			return id, true
		}
	}
	return state.ID{}, false
}

// claim enters s for id. It returns the Service that had it and must give it
// up, or nil.
func (t *Table) claim(s *service, id state.ID) *service {
	owner := t.owner(id)
	if owner == nil {
		t.owners.Put(id, s)
		return nil
	}
	if owner.rank.compare(s.rank) < 0 {
		t.rivals[id] = insert(t.rivals[id], s)
		return nil
	}
	t.owners.Put(id, s)
	t.rivals[id] = insert(t.rivals[id], owner)
	return owner
}

// release takes s off id. It returns the Service that has it from now on, if
// that is a change for it, or nil.
func (t *Table) release(s *service, id state.ID) *service {
	if t.owner(id) != s {
		t.rivals[id] = slices.DeleteFunc(t.rivals[id], func(r *service) bool { return r == s })
		if len(t.rivals[id]) == 0 {
			delete(t.rivals, id)
		}
		return nil
	}
	waiting := t.rivals[id]
	if len(waiting) == 0 {
		t.owners.Delete(id)
		return nil
	}
	best := waiting[0]
	t.owners.Put(id, best)
	if t.rivals[id] = slices.Delete(waiting, 0, 1); len(t.rivals[id]) == 0 {
		delete(t.rivals, id)
	}
	return best
}

// owner returns the Service that has a claim, or nil.
func (t *Table) owner(claim state.ID) *service {
	s, _ := t.owners.Get(claim)
	return s
}

func insert(rivals []*service, s *service) []*service {
	at, _ := slices.BinarySearchFunc(rivals, s, func(a, b *service) int { return a.rank.compare(b.rank) })
	return slices.Insert(rivals, at, s)
}
