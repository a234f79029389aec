package cluster

import (
	"context"
	"slices"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Part is the desired state of objects that share a plan.
type Part struct {
	Some   []state.Want
	All    *desired.Table // not nil: all desired objects too, and all others must be deleted
	Failed bool           // the last writes of Some have failed
	Large  bool           // Some belongs to a Service with many objects: rounds of their own write it
}

// First renders the Services that everything else in the cluster needs, before the others.
// Use it only on a node without virtual servers: on others a virtual IP of two Services might
// change hands for a moment.
func (c *Cluster) First(ctx context.Context, actual *state.State) Part {
	keys := c.model.First()
	c.probeSchedulers(ctx, actual, keys, false)
	c.table.Refresh(tallying{c.model, c.tallies}, keys)
	return Part{Some: c.table.Of(keys)}
}

// RenderAll renders the changed Services, and returns all desired objects and the number of
// rendered Services. actual has the objects in the kernel.
func (c *Cluster) RenderAll(ctx context.Context, actual *state.State) (Part, int) {
	keys := c.dirty(ctx, actual, true)
	c.table.Refresh(tallying{c.model, c.tallies}, keys)
	c.names.update(c.config.Desired, c.table, c.model, keys)
	return Part{All: c.table, Some: c.config.Desired.TakenBack(actual)}, len(keys)
}

// Render renders the changed Services, and returns the objects that this touches and the
// number of rendered Services. The Services that the cluster needs come first, those with
// many objects last. With again it probes again for schedulers that the kernel did not have.
func (c *Cluster) Render(ctx context.Context, actual *state.State, again bool) (parts []Part, services int) {
	keys := c.dirty(ctx, actual, again)
	for _, g := range c.groups(keys) {
		parts = append(parts, Part{Some: c.table.Update(tallying{c.model, c.tallies}, g.keys), Large: g.large})
	}
	c.names.update(c.config.Desired, c.table, c.model, keys)
	return parts, len(keys)
}

func (c *Cluster) dirty(ctx context.Context, actual *state.State, again bool) []model.Key {
	keys := c.model.TakeDirty()
	c.probeSchedulers(ctx, actual, keys, again)
	return append(keys, c.model.TakeDirty()...)
}

// group is Services that share a plan.
type group struct {
	keys  []model.Key
	large bool // one Service with many objects
}

// groups splits keys, which must be in the order of model.Keys.
func (c *Cluster) groups(keys []model.Key) []group {
	var first, rest group
	var large []group
	for _, k := range keys {
		switch {
		case c.isLarge(k):
			large = append(large, group{[]model.Key{k}, true})
		case c.model.IsFirst(k):
			first.keys = append(first.keys, k)
		default:
			rest.keys = append(rest.keys, k)
		}
	}
	all := append([]group{first, rest}, large...)
	return slices.DeleteFunc(all, func(g group) bool { return len(g.keys) == 0 })
}

// isLarge reports whether a Service has or will have so many objects that it gets a plan of
// its own.
func (c *Cluster) isLarge(k model.Key) bool {
	return max(c.table.Objects(k), c.model.Objects(k)) > c.config.Large
}

// LastWord removes duplicates: each object stays in the last part that has it. A Failed part
// keeps an object only if no other part has it.
func LastWord(parts []Part) []Part {
	if len(parts) < 2 {
		return parts
	}
	named := map[state.ID]bool{}
	for i := range slices.Backward(parts) {
		if parts[i].Failed {
			continue
		}
		parts[i].Some = unnamed(parts[i].Some, named)
	}
	for i := range parts {
		if parts[i].Failed {
			parts[i].Some = unnamed(parts[i].Some, named)
		}
	}
	return parts
}

// unnamed returns the wants whose IDs are not in named, and adds these IDs.
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

// Diff returns the writes that w needs, in no order. Until the source has delivered
// everything, it drops the unsafe ones: see dropUnsafe.
func (c *Cluster) Diff(w Part, actual *state.State, drain state.Drain) []state.Op {
	var ops []state.Op
	if w.All != nil {
		var others []state.Want
		ops, others = state.DiffAll(w.All.All(), w.All.Len(), actual)
		ops = append(ops, state.Diff(others, actual, drain)...)
		ops = append(ops, state.Diff(w.Some, actual, drain)...)
	} else {
		ops = state.Diff(w.Some, actual, drain)
	}
	if c.synced {
		return ops
	}
	return dropUnsafe(ops, actual)
}

// dropUnsafe removes the writes that an incomplete source does not justify: deletions,
// weights of 0, and refusals of frontends that the kernel serves now.
func dropUnsafe(ops []state.Op, actual *state.State) []state.Op {
	var out []state.Op
	for _, op := range ops {
		switch {
		case op.Verb == state.Delete:
		case op.Verb == state.Change && op.ID.Kind == state.RealServer && op.Spec.Value().Weight == 0:
		case op.Verb == state.Add && op.ID.Refuses() && served(op.ID, actual):
		default:
			out = append(out, op)
		}
	}
	return out
}

// served reports whether the kernel publishes the frontend of a refusing entry.
func served(id state.ID, actual *state.State) bool {
	for _, set := range state.SetNames() {
		if id.Set = set; set.Publishes() {
			if actual.Has(id) {
				return true
			}
		}
	}
	return false
}
