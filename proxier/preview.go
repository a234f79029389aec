package proxier

import (
	"context"
	"errors"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
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

// Preview compares what the source has delivered with the kernel and writes
// nothing. It is called instead of Run, after Loaded. It is an error when
// something cannot be read.
func (p *Proxier) Preview(ctx context.Context) (*Preview, error) {
	p.kernel = readOnly{p.kernel}
	r := &report.Round{Full: true}
	p.receive(r)
	if !p.loaded {
		return nil, errors.New("the source has delivered nothing")
	}
	if err := p.look(ctx, r); err != nil {
		return nil, err
	}
	ops := p.diff(p.wants(ctx, r)[0]) // a full round has one part
	if !p.synced {
		ops = careful(ops, p.ledger.Actual())
	}
	p.problems(r)
	return &Preview{
		Plan: state.NewPlan(ops), Why: p.table.Explain(p.model), Problems: r.Problems, Complete: p.synced,
		Model: p.model, Table: p.table, Config: p.config.Desired, Facts: p.facts, Actual: p.ledger.Actual(),
	}, nil
}

// readOnly is a Kernel that cannot write.
type readOnly struct{ kernel.Kernel }

// Apply refuses.
func (readOnly) Apply(_ context.Context, plan state.Plan) []error {
	errs := make([]error, len(plan))
	for i := range errs {
		errs[i] = errors.New("a preview does not write")
	}
	return errs
}

// ProbeScheduler takes the kernel to have every scheduler: asking would write.
func (readOnly) ProbeScheduler(context.Context, string) error { return nil }
