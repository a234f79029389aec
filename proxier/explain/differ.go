package explain

import (
	"strings"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// differences returns the writes of the plan for the explained frontends, and for the objects that
// all Services of their families need.
func (n *Node) differences(s *model.Service, frontends []desired.Frontend, q Query) []Difference {
	own := n.owned(s, frontends, q)
	var families [2]bool
	for i := range frontends {
		families[frontends[i].Family()] = true
	}
	out := []Difference{}
	for _, op := range n.Plan {
		common := false
		switch op.ID.Kind {
		case state.Setting, state.Link:
			common = true
		case state.Set, state.Rules, state.Route:
			common = families[op.ID.Family()]
		}
		if common || own(op) {
			out = append(out, n.difference(op, common))
		}
	}
	return out
}

// owned returns a function that reports whether a write is for the explained frontends.
func (n *Node) owned(s *model.Service, frontends []desired.Frontend, q Query) func(state.Op) bool {
	whole := q.Service != (model.Key{}) && q.Port == ""
	wanted := map[state.ID]bool{}
	for _, o := range n.Table.Wanted(s.Key) {
		wanted[o.ID] = true
	}
	ends := map[state.ID]bool{} // hairpin entries that endpoints of the Service may have
	for i := range frontends {
		f := &frontends[i]
		for _, v := range n.Model.Verdicts(s.Key, f.Port, f.Family()) {
			ends[state.HairpinID(f.Proto, v.At)] = true
		}
	}
	return func(op state.Op) bool {
		if ends[op.ID] || whole && wanted[op.ID] {
			return true
		}
		if text := op.Old.Value().Text; whole && op.ID.Kind == state.Entry && op.ID.Set.Comments() && (text == s.Key.String() || strings.HasPrefix(text, s.Key.String()+":")) {
			return true // the object belonged to this Service
		}
		for i := range frontends {
			if frontends[i].Lost == (model.Key{}) && about(op.ID, &frontends[i]) {
				return true
			}
		}
		return false
	}
}

// about reports whether an object belongs to a frontend.
func about(id state.ID, f *desired.Frontend) bool {
	switch id.Kind {
	case state.VirtualServer, state.RealServer:
		server := id.Server()
		return server == f.Server || server == f.LocalServer || id.Proto == f.Proto && id.AddrPort() == f.Addr
	case state.VIP:
		return f.Reach == desired.ClusterIP && id.Addr() == f.Addr.Addr()
	case state.Entry:
		switch id.Set.Type() {
		case state.HashIP:
			return f.Reach == desired.ClusterIP && id.Addr() == f.Addr.Addr()
		case state.HashIPPortIP:
			return false
		case state.HashNetPort:
			return f.Reach == desired.NodePort && id.Proto == f.Proto && id.Port == f.Addr.Port() && id.Family() == f.Family()
		}
		return id.Proto == f.Proto && id.AddrPort() == f.Addr
	}
	return false
}

func (n *Node) difference(op state.Op, common bool) Difference {
	d := Difference{Object: op.ID.String(), Common: common}
	spell := func(spec state.SpecRef) string {
		return strings.TrimSpace(strings.TrimPrefix(state.Object{ID: op.ID, Spec: spec}.String(), op.ID.String()))
	}
	switch op.Verb {
	case state.Add:
		d.What, d.Want = "missing", spell(op.Spec)
	case state.Delete:
		d.What, d.Have = "extra", spell(op.Old)
	default:
		d.What, d.Want, d.Have = "changed", spell(op.Spec), spell(op.Old)
	}
	if op.ID.Kind == state.Rules {
		d.Detail, d.Want, d.Have = n.Differ[op.ID.Family()], "", ""
	}
	switch why := n.Why[op.ID]; {
	case why != "":
		d.Why = why
	case common:
		d.Why = "all Services need it"
	}
	return d
}
