package proxier

import (
	"context"
	"errors"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Preview is the plan of a first round, with its inputs.
type Preview struct {
	Plan     state.Plan
	Why      map[state.ID]string // the Services that need each desired object
	Problems []model.Problem     // of Services, the Node and the source
	Complete bool                // the source has delivered everything; otherwise the plan removes nothing

	// The inputs of the plan.
	Model  *model.Model
	Table  *desired.Table
	Config desired.Config // completed by the Node object
	Facts  state.Facts
	Actual *state.State // the objects in the kernel
}

// Preview compares the delivered objects with the kernel, which should be a kernel.ReadOnly,
// and writes nothing. Call it instead of Run, after Loaded. It returns an error if a read
// fails.
func (p *Proxier) Preview(ctx context.Context) (*Preview, error) {
	r := &report.Round{Full: true}
	p.receive(r)
	if !p.cluster.Loaded() {
		return nil, errors.New("the source has delivered nothing")
	}
	if err := p.look(ctx, r); err != nil {
		return nil, err
	}
	c, actual := p.cluster, p.ledger.Actual()
	all, _ := c.RenderAll(ctx, actual)
	plan := p.ledger.Plan(all)
	p.problems(r)
	return &Preview{
		Plan: plan, Why: c.Table().Explain(c.Model()), Problems: r.Problems, Complete: c.Synced(),
		Model: c.Model(), Table: c.Table(), Config: *c.Desired(), Facts: c.Facts(), Actual: actual,
	}, nil
}
