package desired

import (
	"cmp"
	"fmt"
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
	services map[model.Key]*service
	owners   map[state.ID]*service   // by claim
	rivals   map[state.ID][]*service // who else claims it, best first
	shared   map[state.ID]*share
	troubled map[*service]bool // those with problems or lost frontends
}

// service is what the Table keeps of a Service.
type service struct {
	rank     rank
	origin   string
	uid      string
	fragment Fragment
	claims   []state.ID
	lost     []loss
	problems []model.Problem
}

// rank orders rivals: the older Service wins, then the lesser name, so that
// every node and every restart decides alike.
type rank struct {
	created int64
	key     model.Key
}

func (a rank) compare(b rank) int {
	return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.key.Namespace, b.key.Namespace), cmp.Compare(a.key.Name, b.key.Name))
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
		services: map[model.Key]*service{}, owners: map[state.ID]*service{},
		rivals: map[state.ID][]*service{}, shared: map[state.ID]*share{}, troubled: map[*service]bool{},
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
	s := t.services[v.Key]
	if s == nil {
		return
	}
	for _, f := range t.config.frontends(v) {
		if t.lost(s, f) != nil {
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
	note := func(s *service, objects []state.Object) {
		for _, o := range objects {
			if old := best[o.ID]; ids[o.ID] && (old == nil || s.rank.compare(old.rank) < 0) {
				best[o.ID] = s
			}
		}
	}
	for _, s := range t.services {
		note(s, s.fragment.Own)
		note(s, s.fragment.Shared)
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
	batch := newBatch(t)
	queue := slices.Clone(keys)
	for len(queue) > 0 { // ends: a claim passes only to whoever ranks best for it
		key := queue[0]
		queue = append(queue[1:], batch.update(views, key)...)
	}
	return batch.wants()
}

// All returns everything that is wanted, always in the same order.
func (t *Table) All() []state.Want {
	var out []state.Want
	add := func(id state.ID, spec state.SpecRef) {
		out = append(out, state.Want{ID: id, Spec: spec, Present: true})
	}
	for _, o := range t.skeleton {
		add(o.ID, o.Spec)
	}
	for _, s := range t.sorted() {
		for _, o := range s.fragment.Own {
			add(o.ID, o.Spec)
		}
	}
	own := len(out)
	for id, s := range t.shared {
		add(id, s.spec)
	}
	slices.SortFunc(out[own:], func(a, b state.Want) int { return a.ID.Compare(b.ID) })
	return out
}

// Of returns what the skeleton and the named Services need: enough to make
// those answer before all others.
func (t *Table) Of(keys []model.Key) []state.Want {
	seen := map[state.ID]bool{}
	var out []state.Want
	add := func(objects []state.Object) {
		for _, o := range objects {
			if !seen[o.ID] {
				seen[o.ID] = true
				out = append(out, state.Want{ID: o.ID, Spec: o.Spec, Present: true})
			}
		}
	}
	add(t.skeleton)
	for _, k := range keys {
		if s := t.services[k]; s != nil {
			add(s.fragment.Own)
			add(s.fragment.Shared)
		}
	}
	return out
}

// Problems returns what could not be rendered as asked for, in no order.
func (t *Table) Problems() []model.Problem {
	var out []model.Problem
	for s := range t.troubled {
		out = append(out, s.problems...)
		for _, l := range s.lost {
			p := model.Problem{UID: s.uid, Origin: s.origin, Object: "Service " + s.rank.key.String(), Field: l.frontend.field()}
			p.Message = fmt.Sprintf("%s is left out: Service %s, which is older or comes first by name, has the same address and port", l.frontend, t.owners[l.claim].rank.key)
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
		owns := func(f frontend) bool { return t.lost(s, f) == nil }
		Render(t.config, t.facts, v, owns, func(id state.ID, text string) {
			if why[id] == "" {
				why[id] = s.rank.key.String() + ": " + text
			}
		})
	}
	return why
}

func (t *Table) sorted() []*service {
	out := make([]*service, 0, len(t.services))
	for _, s := range t.services {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *service) int { return a.rank.compare(b.rank) })
	return out
}

// lost returns the first claim of f that s does not have, or nil.
func (t *Table) lost(s *service, f frontend) *state.ID {
	for _, id := range f.claims() {
		if t.owners[id] != s {
			return &id
		}
	}
	return nil
}

// claim enters s for id. It returns the Service that had it and must give it
// up, or nil.
func (t *Table) claim(s *service, id state.ID) *service {
	owner := t.owners[id]
	if owner == nil {
		t.owners[id] = s
		return nil
	}
	if owner.rank.compare(s.rank) < 0 {
		t.rivals[id] = insert(t.rivals[id], s)
		return nil
	}
	t.owners[id] = s
	t.rivals[id] = insert(t.rivals[id], owner)
	return owner
}

// release takes s off id. It returns the Service that has it from now on, if
// that is a change for it, or nil.
func (t *Table) release(s *service, id state.ID) *service {
	if t.owners[id] != s {
		t.rivals[id] = slices.DeleteFunc(t.rivals[id], func(r *service) bool { return r == s })
		if len(t.rivals[id]) == 0 {
			delete(t.rivals, id)
		}
		return nil
	}
	waiting := t.rivals[id]
	if len(waiting) == 0 {
		delete(t.owners, id)
		return nil
	}
	t.owners[id] = waiting[0]
	if t.rivals[id] = slices.Delete(waiting, 0, 1); len(t.rivals[id]) == 0 {
		delete(t.rivals, id)
	}
	return t.owners[id]
}

func insert(rivals []*service, s *service) []*service {
	at, _ := slices.BinarySearchFunc(rivals, s, func(a, b *service) int { return a.rank.compare(b.rank) })
	return slices.Insert(rivals, at, s)
}
