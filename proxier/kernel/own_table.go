package kernel

import (
	"errors"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// parse splits rules into those that iptables writes and those of the nftables table. It
// returns none of the latter if the kernel was found to refuse them.
func (v *View) parse(family state.Family, rules string) (iptables, own netutil.Ruleset, err error) {
	all, err := netutil.ParseRules(rules, prefix(family))
	if iptables, own = all.Split(); v.proof.noOwn.Load() {
		own = netutil.Ruleset{}
	}
	return iptables, own, err
}

// readOwn reads the nftables table of kube-ipvs, without a process. can is the part of want
// that the kernel can hold: without nftables none, and no DNAT of other programs in nftables
// can then come before table nat.
func (v *View) readOwn(family state.Family, want netutil.Ruleset) (have, can netutil.Ruleset, err error) {
	have, err = netutil.ReadOwn(family, want, ipset.Index)
	if errors.Is(err, netutil.ErrNoNFTables) {
		return netutil.Ruleset{}, netutil.Ruleset{}, nil
	}
	return have, want, err
}

// checkOwn tries whether the kernel can hold the nftables table of kube-ipvs, unless it has it
// or has no nftables. It returns netutil.ErrNoNFTables if the kernel lacks a part of nftables:
// then only the order in table nat decides.
func (l *Linux) checkOwn(family state.Family, rules string) (err error) {
	_, own, err := l.parse(family, rules)
	if err != nil {
		return err
	}
	have, own, err := l.readOwn(family, own)
	if err != nil || netutil.Equal(own, netutil.Ruleset{}) || !netutil.Equal(have, netutil.Ruleset{}) {
		return err
	}
	set := ipset.Set{Name: scratchName(family), Type: ipset.HashIPPort, Family: family.Inet()}
	if err := l.ipset.Create(set); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.ipset.Destroy(set.Name)) }()
	err = netutil.ProbeOwn(family, own, func(string) (uint16, error) { return ipset.Index(set.Name) })
	l.proof.noOwn.Store(errors.Is(err, netutil.ErrNoNFTables))
	return err
}

// writeOwn writes the nftables table of kube-ipvs, or removes it if want is empty. If the
// kernel has lost a part of nftables since checkOwn, only the first call fails.
func (l *Linux) writeOwn(family state.Family, want netutil.Ruleset) error {
	have, want, err := l.readOwn(family, want)
	if err != nil || netutil.Equal(have, want) {
		return err
	}
	err = netutil.WriteOwn(family, want, ipset.Index)
	if errors.Is(err, netutil.ErrNoNFTables) {
		l.proof.noOwn.Store(true)
	}
	return err
}
