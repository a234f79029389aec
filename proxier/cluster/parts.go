package cluster

import (
	"context"
	"slices"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// mostChanged is the longest Round.Changed.
const mostChanged = 3

// First renders the Services that everything else in the cluster needs, before the others.
// actual has the objects in the kernel. Use it only on a node without virtual servers: on others
// a virtual IP of two Services might change hands for a moment.
func (c *Cluster) First(ctx context.Context, actual *state.State) desired.Part {
	c.bind(actual)
	c.model.starts.Follow(actual)
	defer c.model.starts.Follow(nil)
	keys := c.model.First()
	c.probeSchedulers(ctx, actual, keys, false)
	c.table.Refresh(c.model, keys)
	return desired.Part{Some: c.table.Of(keys)}
}

// Render renders the changed Services, and returns the objects that a round compares: all in a
// full round, else those that this touches. Then the Services that the cluster needs come
// first, those with many objects last. A round that has compared everything probes again for
// schedulers that the kernel did not have. actual has the objects in the kernel.
func (c *Cluster) Render(ctx context.Context, r *report.Round, actual *state.State) (parts []desired.Part) {
	if r.Full {
		c.bind(actual)
	}
	c.model.starts.Follow(actual)
	defer c.model.starts.Follow(nil)
	keys := c.dirty(ctx, actual, r.Full || r.Audited)
	if r.Full {
		c.table.Refresh(c.model, keys)
		parts = []desired.Part{{All: c.table, Some: c.settings.now.TakenBack(actual)}}
	} else {
		for _, g := range c.groups(keys) {
			parts = append(parts, desired.Part{Some: c.table.Update(c.model, g.keys), Large: g.large})
		}
	}
	r.Services, r.Changed = len(keys), slices.Clone(keys[:min(len(keys), mostChanged)])
	c.settings.Names.update(c.settings.now, c.table, c.model.Model, keys)
	c.tellFull(keys)
	return parts
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
	return max(c.table.Objects(k), c.model.Objects(k)) > c.settings.Large
}
