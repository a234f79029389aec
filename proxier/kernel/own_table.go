package kernel

import (
	"errors"
	"net/netip"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
)

// parse reads rules, of which own are those that iptables does not write. There are
// none of these where the kernel was found not to take them.
func (l *Linux) parse(family netip.Addr, rules string) (iptables, own netutil.Ruleset, err error) {
	all, err := netutil.ParseRules(rules, prefix(family))
	if iptables, own = all.Split(); l.proof.noOwn.Load() {
		own = netutil.Ruleset{}
	}
	return iptables, own, err
}

// readOwn reads our table of nftables, without a process. Where the kernel has no
// nftables there is nothing that could come before table nat.
func (l *Linux) readOwn(family netip.Addr, want netutil.Ruleset) (netutil.Ruleset, error) {
	have, err := netutil.ReadOwn(number(family), want, ipset.Index)
	if errors.Is(err, netutil.ErrNoNFTables) {
		return want, nil
	}
	return have, err
}

// writeOwn makes our table of nftables what it is to be, or removes it. Where the kernel
// lacks a part of nftables, the order in table nat has to do: that is told by one failure.
func (l *Linux) writeOwn(family netip.Addr, want netutil.Ruleset) error {
	have, err := l.readOwn(family, want)
	if err != nil || netutil.Equal(have, want) {
		return err
	}
	err = netutil.WriteOwn(number(family), want, ipset.Index)
	if errors.Is(err, netutil.ErrNoNFTables) {
		l.proof.noOwn.Store(true)
	}
	return err
}
