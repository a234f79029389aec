package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// RemoveLeft removes the chains of an earlier run from a variant of iptables that is not in
// use, of both families, with the jumps to them. Call it after the rules are written in the
// variant in use; while both have them, they take effect once. It returns the number of
// chains that it removed; idempotent. It writes nothing if there are none.
func RemoveLeft(ctx context.Context, unused netutil.Backend) (removed int, err error) {
	var errs []error
	for _, family := range state.Families(true) {
		ours := prefix(family)
		meant := func(c netutil.Chain) bool { return strings.HasPrefix(c.Name, ours) }
		chains, err := unused.Chains(family)
		if err == nil && slices.ContainsFunc(chains, meant) {
			var n int
			n, err = unused.RemoveChains(ctx, family, meant)
			removed += n
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove rules of kube-ipvs from iptables-%s of %s: %w", unused, family, err))
		}
	}
	return removed, errors.Join(errs...)
}
