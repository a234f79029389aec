package desired

import "kube-ipvs/proxier/state"

// Part is the desired state of objects that share a plan.
type Part struct {
	Some  []state.Want
	All   *Table // not nil: all desired objects too, and all others must be deleted
	Large bool   // Some belongs to a Service with many objects: rounds of their own write it
}
