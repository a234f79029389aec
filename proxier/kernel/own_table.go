package kernel

import (
	"errors"
	"net/netip"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
)

// parse reads rules, of which own are those that iptables does not write. There are
// none of these where the kernel was found not to take them.
func (v *View) parse(family netip.Addr, rules string) (iptables, own netutil.Ruleset, err error) {
	all, err := netutil.ParseRules(rules, prefix(family))
	if iptables, own = all.Split(); v.proof.noOwn.Load() {
		own = netutil.Ruleset{}
	}
	return iptables, own, err
}

// readOwn reads our table of nftables, without a process, and returns with it what of want the
// kernel can hold. Without nftables that is nothing, and nothing is missing: nothing could come
// before table nat there.
func (v *View) readOwn(family netip.Addr, want netutil.Ruleset) (have, can netutil.Ruleset, err error) {
	have, err = netutil.ReadOwn(number(family), want, ipset.Index)
	if errors.Is(err, netutil.ErrNoNFTables) {
		return netutil.Ruleset{}, netutil.Ruleset{}, nil
	}
	return have, want, err
}

// checkOwn finds out whether the kernel can hold our table of nftables, unless it does, or
// has no nftables. The error is netutil.ErrNoNFTables where it lacks a part of nftables: the
// order in table nat has to do from here on.
func (l *Linux) checkOwn(family netip.Addr, rules string) (err error) {
	_, own, err := l.parse(family, rules)
	if err != nil {
		return err
	}
	have, own, err := l.readOwn(family, own)
	if err != nil || netutil.Equal(own, netutil.Ruleset{}) || !netutil.Equal(have, netutil.Ruleset{}) {
		return err
	}
	set := ipset.Set{Name: scratchName(family), Type: ipset.HashIPPort, Family: inet(family)}
	if err := l.ipset.Create(set); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.ipset.Destroy(set.Name)) }()
	err = netutil.ProbeOwn(number(family), own, func(string) (uint16, error) { return ipset.Index(set.Name) })
	l.proof.noOwn.Store(errors.Is(err, netutil.ErrNoNFTables))
	return err
}

// writeOwn makes our table of nftables what it is to be, or removes it. Where the kernel
// has come to lack a part of nftables since checkOwn, that is told by one failure.
func (l *Linux) writeOwn(family netip.Addr, want netutil.Ruleset) error {
	have, want, err := l.readOwn(family, want)
	if err != nil || netutil.Equal(have, want) {
		return err
	}
	err = netutil.WriteOwn(number(family), want, ipset.Index)
	if errors.Is(err, netutil.ErrNoNFTables) {
		l.proof.noOwn.Store(true)
	}
	return err
}
