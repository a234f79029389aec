package source

import (
	"cmp"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
)

// hold keeps the last endpoints of the Service default/kubernetes: if the node reaches the API server
// only by them, it could not learn of others. All other events pass.
type hold struct {
	trouble *trouble
	now     map[string]*discoveryv1.EndpointSlice // by name, at the API server
	told    map[string]*discoveryv1.EndpointSlice // by name, as delivered
}

func newHold(t *trouble) *hold {
	return &hold{trouble: t, now: map[string]*discoveryv1.EndpointSlice{}, told: map[string]*discoveryv1.EndpointSlice{}}
}

// filter returns the events that may be delivered.
func (h *hold) filter(events []Event) []Event {
	if !slices.ContainsFunc(events, h.concerns) {
		return events
	}
	var out []Event
	for _, e := range events {
		switch {
		case !h.concerns(e):
			out = append(out, e)
		case e.Deleted || !ofAPIServer(e.Slice):
			delete(h.now, e.Slice.Name)
			if !e.Deleted {
				out = append(out, e) // another Service has it now
				delete(h.told, e.Slice.Name)
			}
		default:
			h.now[e.Slice.Name] = e.Slice
		}
	}
	for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		out = append(out, h.settle(family)...)
	}
	return out
}

func ofAPIServer(s *discoveryv1.EndpointSlice) bool {
	return s.Namespace == "default" && s.Labels[discoveryv1.LabelServiceName] == "kubernetes"
}

func (h *hold) concerns(e Event) bool {
	return e.Slice != nil && e.Slice.Namespace == "default" && (ofAPIServer(e.Slice) || h.now[e.Slice.Name] != nil || h.told[e.Slice.Name] != nil)
}

// settle returns the events that bring the delivered slices of a family to those of the API server,
// or none if no endpoint would be left.
func (h *hold) settle(family discoveryv1.AddressType) []Event {
	about := "default/kubernetes " + string(family)
	if serves(h.told, family) && !serves(h.now, family) {
		h.trouble.tell(about, problemOf("Service default/kubernetes", "",
			"the API server lists no "+string(family)+" endpoint any more: the last ones stay in use, since this node may have no other way to the API server"))
		return nil
	}
	h.trouble.solved(about)
	var out []Event
	for name, s := range h.told {
		if s.AddressType == family && h.now[name] == nil {
			out = append(out, Event{Slice: s, Deleted: true})
			delete(h.told, name)
		}
	}
	for name, s := range h.now {
		if s.AddressType == family && h.told[name] != s {
			out = append(out, Event{Slice: s})
			h.told[name] = s
		}
	}
	slices.SortFunc(out, func(a, b Event) int { return cmp.Compare(a.Slice.Name, b.Slice.Name) })
	return out
}

// serves reports whether an endpoint of a family may be used.
func serves(all map[string]*discoveryv1.EndpointSlice, family discoveryv1.AddressType) bool {
	for _, s := range all {
		if s.AddressType != family {
			continue
		}
		for _, e := range s.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				return true
			}
		}
	}
	return false
}
