package desired

import (
	"fmt"
	"net/netip"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// batch collects what one Update touches. An object may leave one Service and
// come to another in it, and a Service may be rendered twice, so that only the
// end tells what is wanted.
type batch struct {
	table *Table
	own   map[state.ID]touch
	order []state.ID                 // touched objects, in the order in which they came up
	scrap map[state.ID]state.SpecRef // reused: what a Service had before
}

// touch is what became of an object so far.
type touch struct {
	by   *service // who came to have it last; nil: nobody has it, or it is shared
	spec state.SpecRef
}

func newBatch(t *Table) *batch {
	return &batch{table: t, own: map[state.ID]touch{}, scrap: map[state.ID]state.SpecRef{}}
}

// update renders one Service and returns others that must be rendered too.
func (b *batch) update(views Views, key model.Key) []model.Key {
	t := b.table
	old := t.services[key]
	view, ok := views.View(key)
	switch {
	case !ok && old == nil:
		return nil
	case !ok:
		affected := b.reclaim(old, nil)
		b.replace(old, Fragment{})
		delete(t.services, key)
		delete(t.troubled, old)
		return affected
	case old == nil:
		old = &service{}
		t.services[key] = old
	}
	var affected []model.Key
	if r := (rank{created: view.Created.Unix(), key: key}); r != old.rank {
		affected = b.reclaim(old, nil) // claims are ordered by rank: enter anew
		old.rank = r
	}
	frontends := t.config.frontends(view.Service)
	affected = append(affected, b.reclaim(old, frontends)...)
	old.origin, old.uid, old.lost, old.problems = view.Origin, view.UID, nil, t.problems(view)
	fragment := Render(t.config, t.facts, view, func(f frontend) bool {
		claim := t.lost(old, f)
		if claim != nil {
			old.lost = append(old.lost, loss{f, *claim})
		}
		return claim == nil
	}, nil)
	b.replace(old, fragment)
	delete(t.troubled, old)
	if len(old.lost)+len(old.problems) > 0 {
		t.troubled[old] = true
	}
	return affected
}

// reclaim makes the claims of s those of frontends and returns the Services
// that won or lost one by it.
func (b *batch) reclaim(s *service, frontends []frontend) []model.Key {
	var affected []model.Key
	note := func(other *service) {
		if other != nil && other != s {
			affected = append(affected, other.rank.key)
		}
	}
	var claims []state.ID
	for _, f := range frontends {
		claims = append(claims, f.claims()...)
	}
	keep := make(map[state.ID]bool, len(claims))
	for _, id := range claims {
		keep[id] = true
	}
	had := make(map[state.ID]bool, len(s.claims))
	for _, id := range s.claims {
		had[id] = true
		if !keep[id] {
			note(b.table.release(s, id))
		}
	}
	for _, id := range claims {
		if !had[id] {
			note(b.table.claim(s, id))
		}
	}
	s.claims = claims
	return affected
}

// replace notes the difference between what s had and what it needs now.
func (b *batch) replace(s *service, now Fragment) {
	clear(b.scrap)
	for _, o := range s.fragment.Own {
		b.scrap[o.ID] = o.Spec
	}
	for _, o := range now.Own {
		// One that it keeps counts too if another Service came to have it
		// earlier in this batch and must let go of it.
		spec, had := b.scrap[o.ID]
		if before, touched := b.own[o.ID]; !had || spec != o.Spec || touched && before.by != s {
			b.touch(o.ID, touch{by: s, spec: o.Spec})
		}
		delete(b.scrap, o.ID)
	}
	for _, o := range s.fragment.Own {
		if _, left := b.scrap[o.ID]; !left {
			continue
		}
		if by := b.own[o.ID].by; by == nil || by == s {
			b.touch(o.ID, touch{})
		}
	}
	for _, o := range now.Shared {
		b.count(o, 1)
	}
	for _, o := range s.fragment.Shared {
		b.count(o, -1)
	}
	s.fragment = now
}

// count adds n references to a shared object. The content that came last
// counts; it depends on the node alone, so all Services agree on it.
func (b *batch) count(o state.Object, n int) {
	t := b.table
	sh := t.shared[o.ID]
	if sh == nil {
		sh = &share{spec: o.Spec}
		t.shared[o.ID] = sh
		b.touch(o.ID, touch{})
	}
	sh.refs += n
	if n > 0 && sh.spec != o.Spec {
		sh.spec = o.Spec
		b.touch(o.ID, touch{})
	}
	if sh.refs == 0 {
		delete(t.shared, o.ID)
		b.touch(o.ID, touch{})
	}
}

func (b *batch) touch(id state.ID, t touch) {
	if _, again := b.own[id]; !again {
		b.order = append(b.order, id)
	}
	b.own[id] = t
}

// wants returns what the batch comes to, each ID once.
func (b *batch) wants() []state.Want {
	out := make([]state.Want, 0, len(b.order))
	for _, id := range b.order {
		w := state.Want{ID: id}
		if t := b.own[id]; t.by != nil {
			w.Spec, w.Present = t.spec, true
		} else if sh := b.table.shared[id]; sh != nil {
			w.Spec, w.Present = sh.spec, true
		}
		out = append(out, w)
	}
	return out
}

// problems returns what of a Service cannot be had on this node.
func (t *Table) problems(v model.View) []model.Problem {
	c := t.config
	object := "Service " + v.Key.String()
	var out []model.Problem
	if v.Scheduler != "" && c.Missing != nil {
		if err := c.Missing(v.Scheduler); err != nil {
			out = append(out, model.Problem{UID: v.UID, Origin: v.Origin, Object: object, Field: "metadata.annotations[kube-ipvs/scheduler]",
				Message: fmt.Sprintf("%v; the default %q is used", err, c.Scheduler)})
		}
	}
	for field, addrs := range map[string][]netip.Addr{
		"spec.clusterIPs": v.ClusterIPs, "spec.externalIPs": v.ExternalIPs, "status.loadBalancer.ingress": v.LoadBalancerIPs,
	} {
		for _, a := range addrs {
			if c.isImage(a) {
				out = append(out, model.Problem{UID: v.UID, Origin: v.Origin, Object: object, Field: field,
					Message: fmt.Sprintf("%s lies in an image prefix of this node and is left out; move that by --image-prefix", a)})
			}
		}
	}
	return out
}
