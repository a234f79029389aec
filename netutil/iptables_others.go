package netutil

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil/iptables"
)

// Chain names a chain of one table.
type Chain struct{ Table, Name string }

// Chains lists the user-defined chains of a family in the tables mangle,
// nat and filter, of any program; none if the kernel lacks this variant. It starts no process
// and reads only the rules that it needs.
func (b Backend) Chains(family Family) ([]Chain, error) {
	chains, err := b.chains(family)
	if errors.Is(err, ErrAbsent) {
		return nil, nil
	}
	return chains, err
}

// chains is Chains, with ErrAbsent where the kernel lacks nftables.
func (b Backend) chains(family Family) ([]Chain, error) {
	var out []Chain
	if b == Legacy {
		err := eachLegacy(family, legacyTables(family), func(c legacyChain) {
			if !c.base {
				out = append(out, c.Chain)
			}
		})
		return out, err
	}
	c, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	chains, err := nftChains(c, family)
	if absent(err) {
		return nil, fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	for _, ch := range chains {
		if !ch.base {
			out = append(out, ch.Chain)
		}
	}
	return out, err
}

// CountRules returns the number of rules in the tables mangle, nat and filter of both
// families, of any program; 0 if the kernel lacks this variant. It starts no process.
func (b Backend) CountRules() (n int, err error) {
	for _, family := range []Family{IPv4, IPv6} {
		var more int
		if b == Legacy {
			more, err = legacyCount(family)
		} else {
			more, err = nftCount(family)
		}
		if n += more; err != nil {
			return 0, err
		}
	}
	return n, nil
}

func legacyCount(family Family) (n int, err error) {
	err = eachLegacy(family, legacyTables(family), func(c legacyChain) {
		n += len(c.rules) - 1 // the last one is the chain's policy, or its end
	})
	return n, err
}

func nftCount(family Family) (int, error) {
	c, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	var b Batch
	b.Begin(nftTable|unix.NFT_MSG_GETRULE, 0, family.Inet(), unix.NFNETLINK_V0, 0, 0)
	n := 0
	err = c.Dump(&b, func(_ uint16, data []byte) error {
		if in, _ := decodeNFTRule(data); slices.Contains(ourTables, in.Table) {
			n++
		}
		return nil
	})
	if absent(err) || errors.Is(err, ErrInterrupted) { // a rule more or less decides nothing
		err = nil
	}
	if err != nil {
		return 0, fmt.Errorf("count the nftables rules of %s: %w", family, err)
	}
	return n, nil
}

// RemoveChains removes the user-defined chains of a family for which meant is true, and
// the jumps to them from built-in chains. It returns the number of removed chains. A chain to
// which another program's user-defined chain jumps stays, with the chains that it needs. Each
// table is one transaction. Idempotent.
func (b Backend) RemoveChains(ctx context.Context, family Family, meant func(Chain) bool) (removed int, err error) {
	if b == NFT {
		return removeNFTChains(family, meant)
	}
	text, err := b.savedLegacy(ctx, family)
	if err != nil {
		return 0, err
	}
	input, removed := removeChainsInput(text, meant)
	if err := b.Restore(ctx, family, input); err != nil {
		return 0, err
	}
	return removed, nil
}

// removeChainsInput returns the input of Restore for RemoveChains, and the number of chains
// that it removes. text has the present rules in the format of iptables-save. The input is
// empty if there is no chain to remove.
func removeChainsInput(text string, meant func(Chain) bool) (input string, removed int) {
	var out strings.Builder
	for _, t := range parseTables(text) {
		gone := t.removable(meant)
		if len(gone) == 0 {
			continue
		}
		removed += len(gone)
		var empty, drop strings.Builder
		for _, name := range t.users {
			if gone[name] {
				fmt.Fprintf(&empty, ":%s - [0:0]\n", name)
				fmt.Fprintf(&drop, "-X %s\n", name)
			}
		}
		fmt.Fprintf(&out, "*%s\n%s", t.name, empty.String())
		for _, r := range t.rules {
			if gone[r.target] && !t.isUser[r.chain] {
				fmt.Fprintf(&out, "-D %s %s\n", r.chain, r.text)
			}
		}
		fmt.Fprintf(&out, "%sCOMMIT\n", drop.String())
	}
	return out.String(), removed
}

// savedTable is a table with the rules of all programs.
type savedTable struct {
	name   string
	users  []string // user-defined chains
	isUser map[string]bool
	rules  []savedRule // those with a target
}

// savedRule is known by its text, or with nft by its handle.
type savedRule struct {
	chain, text, target string
	handle              uint64
}

// removable returns the chains that are meant and that no other chain needs.
func (t savedTable) removable(meant func(Chain) bool) map[string]bool {
	want := map[string]bool{}
	for _, name := range t.users {
		if meant(Chain{t.name, name}) {
			want[name] = true
		}
	}
	for again := true; again; {
		again = false
		for _, r := range t.rules {
			if want[r.target] && !want[r.chain] && t.isUser[r.chain] {
				delete(want, r.target)
				again = true
			}
		}
	}
	return want
}

// parseTables reads text. What it does not understand it leaves out: others
// may use matches that this package does not know.
func parseTables(text string) []savedTable {
	var out []savedTable
	for l, err := range iptables.Lines(text) {
		if err != nil || l.Table == "" {
			continue
		}
		if len(out) == 0 || out[len(out)-1].name != l.Table {
			out = append(out, savedTable{name: l.Table, isUser: map[string]bool{}})
		}
		t := &out[len(out)-1]
		if l.Policy == "-" {
			t.users, t.isUser[l.Chain] = append(t.users, l.Chain), true
		} else if r, _ := iptables.Parse(l.Chain, l.Rule); r.Target() != "" {
			t.rules = append(t.rules, savedRule{chain: l.Chain, text: l.Rule, target: r.Target()})
		}
	}
	return out
}
