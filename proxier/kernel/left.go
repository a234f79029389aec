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

// RemoveLeft removes from a variant of iptables that is not the one in use the chains that
// an earlier run has left there, of both families, with the jumps to them. It belongs after
// the rules in the variant that is: with those in both, the same is done once. It returns
// how many chains it has removed; idempotent. Nothing is written where there are none.
func RemoveLeft(ctx context.Context, unused netutil.Backend) (removed int, err error) {
	var errs []error
	for _, family := range []int{4, 6} {
		ours := map[int]string{4: state.Prefix4, 6: state.Prefix6}[family]
		meant := func(c netutil.Chain) bool { return strings.HasPrefix(c.Name, ours) }
		chains, err := unused.Chains(family)
		if err == nil && slices.ContainsFunc(chains, meant) {
			var n int
			n, err = unused.RemoveChains(ctx, family, meant)
			removed += n
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove rules of kube-ipvs from iptables-%s of IPv%d: %w", unused, family, err))
		}
	}
	return removed, errors.Join(errs...)
}
