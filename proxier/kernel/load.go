package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/state"
)

// Load has the kernel load what opening it takes and does not bring: the legacy tables of
// iptables where these are used, and IPVS. All else comes when Check asks for it. The
// error says what is missing. Where everything is there it writes nothing. It returns the
// variant of iptables that is used: the one that was given, or, if that is empty, the one
// of this node.
//
// Both are asked for by name, which takes CAP_SYS_MODULE. IPVS comes by its netlink family,
// too, since Linux 5.16. What is left, on an older kernel and without the capability, is the
// match ipvs of iptables: a rule with it, in a chain that nothing jumps to, loads IPVS.
func Load(ctx context.Context, backend netutil.Backend) (netutil.Backend, error) {
	none := Usable()
	if none != nil && !errors.Is(none, ipvs.ErrNoIPVS) {
		return "", none
	}
	if backend == "" {
		var err error
		if backend, err = netutil.DetectBackend(ctx, state.Prefix4); err != nil {
			return "", errors.Join(none, err)
		}
	}
	if err := backend.Load(); err != nil || none == nil {
		return backend, err
	}
	return backend, loadIPVS(ctx, backend, none)
}

// loadIPVS has the variants of iptables that there are load IPVS, first the one that is to
// be used. none says that there is no IPVS.
func loadIPVS(ctx context.Context, use netutil.Backend, none error) error {
	all, err := netutil.Backends(ctx)
	if err != nil {
		return errors.Join(none, err)
	}
	others := slices.DeleteFunc(all, func(b netutil.Backend) bool { return b == use })
	for _, b := range append([]netutil.Backend{use}, others...) {
		failed := scratch(ctx, b, state.IPv4, map[string][]string{"filter": {"-m ipvs --ipvs"}})
		if err := Usable(); !errors.Is(err, ipvs.ErrNoIPVS) {
			return err
		}
		if failed != nil {
			none = fmt.Errorf("%w; nor can iptables (%s) load it: %w", none, b, failed)
		}
	}
	return none
}
