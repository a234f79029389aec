package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/state"
)

// Load makes the kernel load the modules that OpenLinux needs: the legacy tables of iptables
// if these are in use, and IPVS. Check loads the others. Load writes nothing if all are
// loaded. The error names what is missing. Load returns the variant of iptables: backend, or
// the detected one if backend is "".
//
// Load asks for both by name, which needs CAP_SYS_MODULE. Since Linux 5.16 the netlink family
// loads IPVS too. On an older kernel without the capability a rule with the match ipvs of
// iptables does, in a chain to which no rule jumps.
func Load(ctx context.Context, backend netutil.Backend) (netutil.Backend, error) {
	none := usable()
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

// Loaded is Load for one who only removes: it makes the kernel load neither IPVS nor legacy
// iptables, since nothing is in a module that is not loaded. It returns backend, or each variant
// that works if backend is "". It fails if IPVS is loaded and this process may not control it.
func Loaded(ctx context.Context, backend netutil.Backend) ([]netutil.Backend, error) {
	loaded, err := ipvs.Loaded()
	if err == nil && loaded {
		err = usable()
	}
	if err != nil {
		return nil, err
	}
	if backend != "" {
		return []netutil.Backend{backend}, nil
	}
	return netutil.Backends(ctx)
}

// loadIPVS tries to load IPVS by each installed variant of iptables, first by the one in use.
// none is the error that IPVS is missing. A variant that refuses its rule gives no reason that
// the operator does not know, since the remedy for both is the module.
func loadIPVS(ctx context.Context, use netutil.Backend, none error) error {
	all, err := netutil.Backends(ctx)
	if err != nil {
		return errors.Join(none, err)
	}
	var refusing []string
	var other error // such as a lock that another program holds
	others := slices.DeleteFunc(all, func(b netutil.Backend) bool { return b == use })
	for _, b := range append([]netutil.Backend{use}, others...) {
		failed := scratch(ctx, b, state.IPv4, map[string][]string{"filter": {"-m ipvs --ipvs"}})
		if err := usable(); !errors.Is(err, ipvs.ErrNoIPVS) {
			return err
		}
		if saidNo(failed) {
			refusing = append(refusing, "iptables-"+string(b))
		} else {
			other = cmp.Or(other, failed)
		}
	}
	return notLoaded(none, refusing, other)
}

// notLoaded adds to none, before its remedy, the variants of iptables that refuse a rule with the
// match ipvs, and why another one could not be asked.
func notLoaded(none error, refusing []string, other error) error {
	var missing *netutil.MissingModules
	if !errors.As(none, &missing) {
		return errors.Join(none, other)
	}
	err := missing.Err
	if len(refusing) > 0 {
		err = fmt.Errorf("%w (a rule of %s does not load it)", err, strings.Join(refusing, " or "))
	}
	if other != nil {
		err = fmt.Errorf("%w (%w)", err, other)
	}
	return &netutil.MissingModules{Err: err, Modules: missing.Modules}
}
