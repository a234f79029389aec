package kernel

import (
	"context"
	"errors"
	"math/rand/v2"

	"kube-ipvs/proxier/state"
)

// Faulty is a Kernel that lets a share of the writes fail without effect.
type Faulty struct {
	Kernel
	Share  float64 // probability that a write fails, 0 to 1
	Rand   *rand.Rand
	Failed int // number of injected failures
}

// ErrInjected is the error of the writes that Faulty lets fail.
var ErrInjected = errors.New("injected fault")

// Apply is part of Kernel.
func (f *Faulty) Apply(ctx context.Context, plan state.Plan) []error {
	errs := make([]error, len(plan))
	failed := false
	for i, op := range plan {
		if f.Rand.Float64() < f.Share {
			f.Failed++
			errs[i], failed = ErrInjected, true
			continue
		}
		if e := f.Kernel.Apply(ctx, state.Plan{op}); e != nil {
			errs[i], failed = e[0], true
		}
	}
	if !failed {
		return nil
	}
	return errs
}

var _ Kernel = (*Faulty)(nil)
