package kernel

import (
	"context"
	"errors"

	"kube-ipvs/proxier/state"
)

// ReadOnly is a Kernel that cannot write.
type ReadOnly struct{ Kernel }

// Apply refuses.
func (ReadOnly) Apply(_ context.Context, plan state.Plan) []error {
	errs := make([]error, len(plan))
	for i := range errs {
		errs[i] = errors.New("a preview does not write")
	}
	return errs
}

// ProbeScheduler takes the kernel to have every scheduler: asking would write.
func (ReadOnly) ProbeScheduler(context.Context, string) error { return nil }
