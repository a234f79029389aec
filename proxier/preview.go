package proxier

import (
	"context"
	"errors"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Preview is what a first round would write.
type Preview struct {
	Plan     state.Plan
	Why      map[state.ID]string // for what is wanted
	Problems []model.Problem     // of what was asked for
	Complete bool                // the source was read in full; otherwise nothing is removed

	// What it was made of.
	Model  *model.Model
	Table  *desired.Table
	Config desired.Config // as the Node object completes it
	Facts  state.Facts
	Actual *state.State // what the kernel holds
}

// Preview compares what the source has delivered with the kernel, which should be a
// kernel.ReadOnly, and writes nothing. It is called instead of Run, after Loaded. It is an
// error when something cannot be read.
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
	plan := state.NewPlan(c.Diff(all, actual, p.ledger))
	p.problems(r)
	return &Preview{
		Plan: plan, Why: c.Table().Explain(c.Model()), Problems: r.Problems, Complete: c.Synced(),
		Model: c.Model(), Table: c.Table(), Config: *c.Desired(), Facts: c.Facts(), Actual: actual,
	}, nil
}
