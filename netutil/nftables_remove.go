package netutil

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// removeNFTChains is RemoveChains by the kernel's own words: the tools would have
// to print all rules of each table, which they cannot do of every one.
func removeNFTChains(family Family, meant func(Chain) bool) (removed int, err error) {
	c, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	chains, err := nftChains(c, family)
	if absent(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, name := range ourTables {
		t, err := nftTargets(c, family, name, chains, meant)
		if err != nil {
			return removed, err
		}
		gone := t.removable(meant)
		if len(gone) == 0 {
			continue
		}
		if err := removal(t, family, gone).commit(c); err != nil {
			return removed, fmt.Errorf("remove chains of the nftables table %s of %s: %w", name, family, err)
		}
		removed += len(gone)
	}
	return removed, nil
}

// nftTargets reads which rules of a table lead to a chain, if one of its chains is
// meant.
func nftTargets(c *Conn, family Family, table string, chains []nftChain, meant func(Chain) bool) (savedTable, error) {
	t := savedTable{name: table, isUser: map[string]bool{}}
	some := false
	for _, ch := range chains {
		if ch.Table == table && !ch.base {
			t.users, t.isUser[ch.Name] = append(t.users, ch.Name), true
			some = some || meant(ch.Chain)
		}
	}
	for _, ch := range chains {
		if !some || ch.Table != table {
			continue
		}
		rules, err := nftRules(c, family, ch.Chain, func(r nftRule) bool { return r.to != "" })
		if err != nil {
			return t, err
		}
		for _, r := range rules {
			t.rules = append(t.rules, savedRule{chain: ch.Name, target: r.to, handle: r.handle})
		}
	}
	return t, nil
}

// removal is the transaction that deletes the jumps, empties the chains and
// deletes them.
func removal(t savedTable, family Family, gone map[string]bool) *transaction {
	out := beginTransaction(family)
	rule := func(chain string, handle ...byte) {
		out.request(unix.NFT_MSG_DELRULE, 0, text(unix.NFTA_RULE_TABLE, t.name), text(unix.NFTA_RULE_CHAIN, chain), handle)
	}
	for _, r := range t.rules {
		if gone[r.target] && !t.isUser[r.chain] {
			rule(r.chain, attr(unix.NFTA_RULE_HANDLE, binary.BigEndian.AppendUint64(nil, r.handle)...)...)
		}
	}
	for name := range gone {
		rule(name) // without a handle: all of them
	}
	for name := range gone {
		out.request(unix.NFT_MSG_DELCHAIN, 0, text(unix.NFTA_CHAIN_TABLE, t.name), text(unix.NFTA_CHAIN_NAME, name))
	}
	return out
}
