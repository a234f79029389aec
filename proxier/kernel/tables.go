package kernel

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// Fill has the number of entries of a table, and its limit; 0: no limit.
type Fill struct{ Entries, Limit uint64 }

// Conntrack returns the fill of the conntrack table. The entries are those of this network
// namespace; all namespaces share the limit.
func (*View) Conntrack() (Fill, error) {
	const path = "net/netfilter/nf_conntrack_"
	entries, err := sysctlNumber(path + "count")
	if err != nil {
		return Fill{}, err
	}
	limit, err := sysctlNumber(path + "max")
	return Fill{entries, limit}, err
}

func sysctlNumber(sysctl string) (uint64, error) {
	text, err := netutil.ReadSysctl(sysctl)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("sysctl %s: %w", sysctl, err)
	}
	return n, nil
}

// Sets returns the fill of each set of kube-ipvs that exists. It costs one request a set,
// since other programs may have thousands.
func (v *View) Sets() (map[state.ID]Fill, error) {
	if err := v.openSets(); err != nil {
		return nil, err
	}
	out := map[state.ID]Fill{}
	for _, family := range v.families() {
		for _, name := range state.SetNames() {
			set, err := v.ipset.Set(name.Kernel(family))
			if errors.Is(err, ipset.ErrNotFound) {
				continue // not made yet
			}
			if err != nil {
				return nil, err
			}
			out[state.SetID(name, family)] = Fill{uint64(set.Entries), uint64(set.MaxEntries)}
		}
	}
	return out, nil
}

// Entries is part of Reader. It costs one request a set.
func (v *View) Entries(ctx context.Context) (int, error) {
	sets, err := v.Sets()
	if err != nil {
		return 0, fmt.Errorf("count entries: %w", err)
	}
	n := 0
	for _, set := range sets {
		n += int(set.Entries)
	}
	return n, ctx.Err()
}

// Refused calls each with every entry that refuses a frontend, and the packets that it has
// refused since it was made. Sets that an older version of kube-ipvs has made do not count.
func (v *View) Refused(each func(entry state.ID, packets uint64)) error {
	if err := v.openSets(); err != nil {
		return err
	}
	for _, family := range v.families() {
		for _, name := range state.SetNames() {
			if !name.Refuses() {
				continue
			}
			err := v.ipset.List(name.Kernel(family), func(e ipset.Entry) { each(entryID(name, e), e.Packets) })
			if err != nil && !errors.Is(err, ipset.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}
