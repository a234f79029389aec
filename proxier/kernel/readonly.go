package kernel

import (
	"context"
	"errors"

	"kube-ipvs/proxier/state"
)

// ReadOnly is a Kernel that refuses writes.
type ReadOnly struct{ Kernel }

// Apply fails for each op.
func (ReadOnly) Apply(_ context.Context, plan state.Plan) []error {
	errs := make([]error, len(plan))
	for i := range errs {
		errs[i] = errors.New("a preview does not write")
	}
	return errs
}

// ProbeScheduler assumes that the kernel has every scheduler, since a probe would write.
func (ReadOnly) ProbeScheduler(context.Context, string) error { return nil }
