package desired

import (
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Preview is the plan of a first round, with its inputs. Readers must not change it.
type Preview struct {
	Plan     state.Plan
	Why      map[state.ID]string // the Services that need each desired object
	Problems []model.Problem     // of Services, the Node and the source
	Complete bool                // the source has delivered everything; otherwise the plan removes nothing

	// The inputs of the plan.
	Model  *model.Model
	Table  *Table // with all Services rendered
	Config Config // completed by the Node object
	Facts  state.Facts
	Actual *state.State // the objects in the kernel

	Reduced state.Reduced
}
