package proxier

import (
	"context"
	"errors"
	"net/netip"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Preview compares the delivered objects with the kernel, which should be a kernel.ReadOnly,
// and writes nothing. Call it instead of Run, after Loaded. It returns an error if a read
// fails.
func (p *Proxier) Preview(ctx context.Context) (*desired.Preview, error) {
	r := &report.Round{Full: true}
	p.receive(r)
	if !p.cluster.Loaded() {
		return nil, errors.New("the source has delivered nothing")
	}
	if err := p.look(ctx, r); err != nil {
		return nil, err
	}
	c, actual := p.cluster, p.ledger.Actual()
	p.ejects.Assume(func(server state.ID, at netip.AddrPort) bool {
		spec, ok := actual.Get(state.RealServerID(server, at))
		return ok && spec.Value().Weight == 0
	})
	plan := p.ledger.Plan(c.Render(ctx, r, actual)[0])
	p.problems(r)
	return &desired.Preview{
		Plan: plan, Why: c.Table().Explain(c.Model()), Problems: r.Problems, Complete: c.Synced(),
		Model: c.Model(), Table: c.Table(), Config: *c.Desired(), Facts: c.Facts(), Actual: actual, Reduced: c.Reduced(),
	}, nil
}
