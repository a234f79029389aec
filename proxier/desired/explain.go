package desired

import (
	"cmp"
	"slices"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Frontends returns the frontends of a Service as they were rendered last, in the order
// of its ports; nil if it was not rendered.
func (t *Table) Frontends(v *model.Service) []Frontend {
	s := t.services.Get(v.Key)
	if s == nil {
		return nil
	}
	var fs frontends
	t.list(&fs, v)
	for i := range fs.all {
		f := &fs.all[i]
		if f.Reach == NodePort {
			f.Networks = t.config.nodePortNetworks(f.Family())
		}
		if w := t.winner(s, f); w != nil {
			f.Lost = w.rank.key
		}
	}
	slices.SortStableFunc(fs.all, func(a, b Frontend) int { return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Reach, b.Reach)) })
	return fs.all
}

// Wanted returns the objects that a Service needs in the kernel, its own and shared ones,
// without the Skeleton and without Flows.
func (t *Table) Wanted(key model.Key) []state.Object {
	var out []state.Object
	if s := t.services.Get(key); s != nil {
		s.objects(func(o state.Object, _ bool) {
			if o.ID.Kind != state.Flow {
				out = append(out, o)
			}
		})
	}
	return out
}
