package kernel

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// RemoveKubeProxy removes the objects of kube-proxy, of any mode, that Options.TakeOver does
// not adopt: its chains in both variants of iptables with the jumps to them, its nftables
// tables and its ipsets, of both families. Call it after kube-ipvs's rules are written: then
// conntrack carries open connections on, and kube-ipvs gets new ones. It returns the number
// of chains, tables and sets that it removed; idempotent.
//
// It removes nothing else: chains of the kubelet stay, and so does a chain of kube-proxy to
// which a chain of another program jumps. The sets of its node ports stay while virtual
// servers of node ports drain, since a restart recognizes these by the sets. Call it again
// when they are gone.
func RemoveKubeProxy(ctx context.Context) (removed int, err error) {
	v := NewView(true)
	defer v.Close()
	if err := v.openOthers(); err != nil {
		return 0, err
	}
	var errs []error
	for _, remove := range []func() (int, error){
		removeTables, func() (int, error) { return removeChains(ctx) }, func() (int, error) { return removeSets(v) },
	} {
		n, err := remove()
		removed += n
		errs = append(errs, err)
	}
	return removed, errors.Join(errs...)
}

func removeTables() (int, error) {
	n := 0
	var errs []error
	for _, family := range state.Families(true) {
		gone, err := netutil.DeleteNFTable(family, kubeProxyTable)
		if gone {
			n++
		}
		errs = append(errs, err)
	}
	return n, errors.Join(errs...)
}

// removeChains removes kube-proxy's chains from both variants of iptables.
func removeChains(ctx context.Context) (int, error) {
	removed := 0
	var errs []error
	for _, b := range []netutil.Backend{netutil.NFT, netutil.Legacy} {
		for _, family := range state.Families(true) {
			n, err := b.RemoveChains(ctx, family, removable)
			if err != nil {
				err = fmt.Errorf("remove the chains of kube-proxy from iptables-%s: %w", b, err)
			}
			removed += n
			errs = append(errs, err)
		}
	}
	return removed, errors.Join(errs...)
}

// removeSets destroys kube-proxy's sets. A set that a rule of another program uses stays,
// and is an error.
func removeSets(v *View) (int, error) {
	sets, err := setsOfKubeProxy(v.ipset)
	if err != nil {
		return 0, err
	}
	needed := false
	if len(sets) > 0 {
		if needed, err = v.nodePortsStand(); err != nil {
			return 0, err
		}
	}
	n := 0
	var errs []error
	for _, s := range sets {
		if needed && strings.Contains(s.Name, "-NODE-PORT-") {
			continue
		}
		if err := v.ipset.Destroy(s.Name); err != nil {
			errs = append(errs, err)
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}

// nodePortsStand reports whether a virtual server of kube-proxy's node ports is not taken
// over yet.
func (v *View) nodePortsStand() (bool, error) {
	services, err := v.ipvs.Services()
	if err != nil {
		return false, err
	}
	ports, err := v.nodePorts()
	if err != nil {
		return false, err
	}
	for i := range services {
		if services[i].Flags&state.FlagOurs == 0 && ports.has(&services[i]) {
			return true, nil
		}
	}
	return false, nil
}
