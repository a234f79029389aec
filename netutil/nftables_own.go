package netutil

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// OwnTable is the nftables table of kube-ipvs. The kernel asks it before all tables nat, also
// those of both variants of iptables: it asks nat chains at one hook by their priority and,
// among equal ones, the youngest first. iptables does not write such a table, and calls its own
// incompatible if it finds such chains there. In a Ruleset it is like a table of iptables with
// the built-in chains PREROUTING and OUTPUT.
const OwnTable = "kube-ipvs"

// ErrNoNFTables means that the kernel has no nftables, or lacks a part that OwnTable needs:
// chains of type nat, and the expressions match (nft_compat) and nat (nft_nat).
var ErrNoNFTables = errors.New("the kernel cannot hold the nftables table of kube-ipvs")

// SetIndex returns the number of an ipset, which rules hold.
type SetIndex func(name string) (uint16, error)

// Split returns the other tables of r, and OwnTable.
func (r Ruleset) Split() (others, own Ruleset) {
	for _, t := range r.tables {
		if t.name == OwnTable {
			own.tables = append(own.tables, t)
		} else {
			others.tables = append(others.tables, t)
		}
	}
	return others, own
}

// Join returns the tables of both.
func (r Ruleset) Join(o Ruleset) Ruleset { return Ruleset{slices.Concat(r.tables, o.tables)} }

// ReadOwn reads OwnTable of a family; the result is empty if there is none. The kernel
// does not have the rules as text: ReadOwn returns the rules of want for a chain that does the
// same, and an unreadable rule for another chain. It leaves out a built-in chain that does
// something else.
func ReadOwn(family Family, want Ruleset, index SetIndex) (Ruleset, error) {
	c, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return Ruleset{}, err
	}
	defer c.Close()
	have, err := ownInKernel(c, family)
	if err != nil {
		return Ruleset{}, fmt.Errorf("read the nftables table %s of %s: %w", OwnTable, family, err)
	}
	var out Ruleset
	if len(have) == 0 {
		return out, nil
	}
	t := out.table(OwnTable)
	odd := func(name string) {
		t.own = append(t.own, chain{name: name, rules: unreadableIn(name)})
	}
	for _, w := range ownChainsOf(want) {
		is, ok := have[w.name]
		delete(have, w.name)
		same := ok && w.does(is, family, index)
		switch {
		case same && w.hooked():
			t.builtin = append(t.builtin, w.chain)
		case same:
			t.own = append(t.own, w.chain)
		case ok && !w.hooked():
			odd(w.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		odd(name)
	}
	return out, nil
}

// WriteOwn replaces OwnTable of a family by that of want, or removes it if want has
// none. It is one transaction: each packet meets the old table or the new one. Idempotent. It
// returns ErrNoNFTables if the kernel lacks a part of nftables.
func WriteOwn(family Family, want Ruleset, index SetIndex) error {
	if len(want.get(OwnTable).own) == 0 {
		_, err := DeleteNFTable(family, OwnTable)
		return err
	}
	before := []tableRequest{makeTable, deleteTable, makeTable} // to delete one there must be one
	if err := transactOwn(family, want, index, before, nil); err != nil {
		return fmt.Errorf("write the nftables table %s of %s: %w", OwnTable, family, err)
	}
	return nil
}

// ProbeOwn returns nil if the kernel can hold OwnTable of want, and makes it load its modules.
// One transaction makes the table and deletes it again; an existing one, as of a kube-ipvs that
// has started meanwhile, stays and proves it. It returns ErrNoNFTables if the kernel lacks a
// part of nftables, with a MissingModules.
func ProbeOwn(family Family, want Ruleset, index SetIndex) error {
	err := transactOwn(family, want, index, []tableRequest{makeNew}, []tableRequest{deleteTable})
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("try the nftables table %s of %s: %w", OwnTable, family, err)
	}
	return nil
}

// transactOwn makes the chains of OwnTable between requests about the table.
func transactOwn(family Family, want Ruleset, index SetIndex, before, after []tableRequest) error {
	c, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	t, err := encodeOwn(family, ownChainsOf(want), index, before, after)
	if err != nil {
		return err
	}
	if err = t.commit(c); absent(err) {
		err = fmt.Errorf("%w: %w", ErrNoNFTables, cmp.Or(probeParts(family, ownParts(family)), err))
	}
	return err
}

// ownChain is a chain of OwnTable.
type ownChain struct {
	chain
	hook int // its number, 0 for PREROUTING; less for a chain that is at none
}

func (c ownChain) hooked() bool { return c.hook >= 0 }

// ownChainsOf lists what OwnTable is to have.
func ownChainsOf(want Ruleset) (out []ownChain) {
	t := want.get(OwnTable)
	for _, c := range t.own {
		out = append(out, ownChain{c, -1})
	}
	for hook, name := range hookNames {
		if c := get(t.builtin, name); len(c.rules) > 0 {
			out = append(out, ownChain{c, hook})
		}
	}
	return out
}

// does reports whether a chain of the kernel is what c is to be.
func (c ownChain) does(is kernelChain, family Family, index SetIndex) bool {
	if len(is.rules) != len(c.rules) || !covers(is.attrs, c.encode()) {
		return false
	}
	for i, r := range c.rules {
		if list, err := encodeOwnRule(r.Rule, family, index); err != nil || !sameExpressions(is.rules[i], list) {
			return false
		}
	}
	return true
}

// kernelChain is a chain as the kernel tells of it.
type kernelChain struct {
	attrs []byte
	rules [][]byte // the expressions of each rule
}

// ownInKernel reads the chains of OwnTable.
func ownInKernel(c *Conn, family Family) (map[string]kernelChain, error) {
	out := map[string]kernelChain{}
	var b Batch
	b.Begin(nftTable|unix.NFT_MSG_GETCHAIN, 0, family.Inet(), unix.NFNETLINK_V0, 0, 0)
	chains, err := messages(c, &b, func(data []byte) []byte {
		if decodeNFTChain(data).Table != OwnTable {
			return nil
		}
		return data[min(4, len(data)):]
	})
	if absent(err) {
		return nil, fmt.Errorf("%w: %w", ErrNoNFTables, err)
	}
	for _, attrs := range chains {
		name := decodeNFTChain(append(make([]byte, 4), attrs...)).Name
		b.Reset()
		beginGetRule(&b, family, Chain{OwnTable, name})
		rules, err := messages(c, &b, expressionsOf)
		if err != nil {
			return nil, err
		}
		out[name] = kernelChain{attrs, rules}
	}
	return out, err
}

// messages returns what take makes of each message of a dump, where that is something.
func messages(c *Conn, b *Batch, take func(data []byte) []byte) ([][]byte, error) {
	return steady(func() (out [][]byte, err error) {
		err = c.Dump(b, func(_ uint16, data []byte) error {
			if p := take(data); p != nil {
				out = append(out, bytes.Clone(p))
			}
			return nil
		})
		return out, err
	}, bytes.Equal)
}

func expressionsOf(data []byte) []byte {
	for a := range nftAttrs(data) {
		if a.Type == unix.NFTA_RULE_EXPRESSIONS {
			return a.Data
		}
	}
	return []byte{}
}
