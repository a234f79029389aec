package kernel

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// RemoveKubeProxy removes what kube-proxy, of any mode, has programmed beside
// the virtual servers and addresses that Options.TakeOver adopts: its chains
// in both variants of iptables with the jumps to them, its nftables tables and
// its ipsets, of both families. It belongs after our own rules: connections
// that are open go on by conntrack, new ones are ours. It returns how many
// chains, tables and sets it has removed; idempotent.
//
// Nothing else goes: chains of the kubelet stay, and so does a chain of
// kube-proxy that a chain of others jumps to. The sets that tell its node
// ports stay as long as virtual servers of them are draining, by which a
// restart knows them again: call it once more when those are gone.
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
	for _, family := range []int{4, 6} {
		gone, err := netutil.DeleteNFTable(family, kubeProxyTable)
		if gone {
			n++
		}
		errs = append(errs, err)
	}
	return n, errors.Join(errs...)
}

// removeChains removes them from both variants of iptables.
func removeChains(ctx context.Context) (int, error) {
	removed := 0
	var errs []error
	for _, b := range []netutil.Backend{netutil.NFT, netutil.Legacy} {
		for _, family := range []int{4, 6} {
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

// removeSets destroys the sets. One that a rule of others uses stays, and is
// an error.
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

// nodePortsStand reports whether there is a virtual server of kube-proxy's
// node ports that is not ours yet.
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
