package kernel

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/state"
)

// FindKubeProxy looks for objects of kube-proxy, of any mode, on this node, whether it runs
// or not. Chains that the kubelet makes do not count, nor do objects of kube-ipvs. It
// changes nothing.
func FindKubeProxy(ctx context.Context) (Found, error) {
	v := NewView(true)
	defer v.Close()
	if err := v.openOthers(); err != nil {
		return Found{}, err
	}
	return v.findKubeProxy(ctx)
}

func (v *View) findKubeProxy(ctx context.Context) (Found, error) {
	var f Found
	for _, find := range []func(context.Context, *Found) error{v.findDevice, v.findSets, v.findChains, v.findTables} {
		if err := find(ctx, &f); err != nil {
			return Found{}, err
		}
	}
	return f, nil
}

// findDevice looks for a device kube-ipvs0 without alias and with addresses that are not
// kube-ipvs's, and for virtual servers of other programs at these addresses.
func (v *View) findDevice(_ context.Context, f *Found) error {
	d, err := v.readDevice()
	if err != nil || !d.exists {
		return err
	}
	ours, err := v.ownVIPs()
	if err != nil {
		return err
	}
	theirs := slices.DeleteFunc(d.hosts, func(a netip.Addr) bool { return ours[a] })
	if d.alias == "" && len(theirs) > 0 {
		f.add(modeIPVS, "device %s with %d addresses", LinkName, len(theirs))
	}
	services, err := v.ipvs.Services()
	if err != nil {
		return err
	}
	n := 0
	for i := range services {
		key := ipvs.KeyOf(&services[i])
		if key.FWMark == 0 && services[i].Flags&state.FlagOurs == 0 && slices.Contains(theirs, key.Addr.Addr()) {
			n++
		}
	}
	if n > 0 {
		f.add(modeIPVS, "%d virtual servers on its addresses", n)
	}
	return nil
}

// ownVIPs returns the entries of SetVIPs: an address of kube-ipvs is in the set before it is
// on the device.
func (v *View) ownVIPs() (map[netip.Addr]bool, error) {
	out := map[netip.Addr]bool{}
	for _, family := range state.Families(true) {
		err := v.ipset.List(state.SetVIPs.Kernel(family), func(e ipset.Entry) { out[e.Addr] = true })
		if err != nil && !errors.Is(err, ipset.ErrNotFound) {
			return nil, err
		}
	}
	return out, nil
}

func (v *View) findSets(_ context.Context, f *Found) error {
	sets, err := setsOfKubeProxy(v.ipset)
	if err != nil || len(sets) == 0 {
		return err
	}
	var names []string
	for _, s := range sets {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	f.add(modeIPVS, "%d ipsets (%s)", len(names), some(names))
	return nil
}

func (v *View) findChains(_ context.Context, f *Found) error {
	for _, b := range []netutil.Backend{netutil.NFT, netutil.Legacy} {
		for _, family := range state.Families(true) {
			chains, err := b.Chains(family)
			if err != nil {
				return err
			}
			mode := ""
			var names []string
			for _, c := range chains {
				m, ok := ofKubeProxy(c.Name)
				if !ok {
					continue
				}
				names = append(names, c.Table+" "+c.Name)
				if m != "" {
					mode = m
				}
			}
			if len(names) > 0 {
				slices.Sort(names)
				f.add(mode, "%d chains of iptables-%s for %s (%s)", len(names), b, family, some(names))
			}
		}
	}
	return nil
}

func (v *View) findTables(_ context.Context, f *Found) error {
	for _, family := range state.Families(true) {
		has, err := netutil.HasNFTable(family, kubeProxyTable)
		if err != nil {
			return err
		}
		if has {
			f.add(modeNFTables, "nftables table %s for %s", kubeProxyTable, family)
		}
	}
	return nil
}
