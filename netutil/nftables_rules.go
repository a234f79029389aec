package netutil

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ourTables are the tables that rules of ours may stand in. No other is read:
// a rule of others that the tools cannot express is not to keep us from ours.
var ourTables = []string{"mangle", "nat", "filter"}

// nftChain is a chain in one of ourTables.
type nftChain struct {
	Chain
	base bool // it hangs at a hook
}

// nftRule is what matters of a rule.
type nftRule struct {
	handle uint64
	jump   string // its jump, as iptables spells it: "-j CHAIN" or "-g CHAIN"; empty: none
	to     string // that chain
	word   string // what else it does, as iptables names it; empty: what has no such name
	plain  bool   // it leads every packet there
	body   []byte // the kernel's words for what it does, less its counters
}

// nftChains lists the chains of a family in ourTables, in the order of that. It
// costs with how many chains others have there, but not with their rules. A
// kernel without nftables is an error for which absent holds.
func nftChains(c *Conn, family Family) ([]nftChain, error) {
	var b Batch
	b.Begin(nftTable|unix.NFT_MSG_GETCHAIN, 0, family.Inet(), unix.NFNETLINK_V0, 0, 0)
	out, err := steady(func() (out []nftChain, err error) {
		err = c.Dump(&b, func(_ uint16, data []byte) error {
			if ch := decodeNFTChain(data); slices.Contains(ourTables, ch.Table) {
				out = append(out, ch)
			}
			return nil
		})
		return out, err
	}, func(a, b nftChain) bool { return a == b })
	if err != nil {
		return nil, fmt.Errorf("list the nftables chains of %s: %w", family, err)
	}
	slices.SortStableFunc(out, func(a, b nftChain) int {
		return slices.Index(ourTables, a.Table) - slices.Index(ourTables, b.Table)
	})
	return out, nil
}

func decodeNFTChain(data []byte) nftChain {
	var ch nftChain
	for a := range nftAttrs(data) {
		switch a.Type {
		case unix.NFTA_CHAIN_TABLE:
			ch.Table = cString(a.Data)
		case unix.NFTA_CHAIN_NAME:
			ch.Name = cString(a.Data)
		case unix.NFTA_CHAIN_HOOK:
			ch.base = true
		}
	}
	return ch
}

// nftRules returns the rules of one chain that are meant, in their order; none if
// there is no such chain. It costs with the rules of that chain alone.
func nftRules(c *Conn, family Family, of Chain, meant func(nftRule) bool) ([]nftRule, error) {
	out, err := steady(func() (out []nftRule, err error) {
		err = eachNFTRule(c, family, of, func(r nftRule) error {
			if meant(r) {
				out = append(out, r)
			}
			return nil
		})
		return out, err
	}, sameHandle)
	return out, nftFailed(of, family, err)
}

func sameHandle(a, b nftRule) bool { return a.handle == b.handle }

func nftFailed(of Chain, family Family, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("list the nftables rules of %s %s of %s: %w", of.Table, of.Name, family, err)
}

// eachNFTRule hands each rule of a chain to each, in their order, up to an error of
// that.
func eachNFTRule(c *Conn, family Family, of Chain, each func(nftRule) error) error {
	var b Batch
	beginGetRule(&b, family, of)
	return c.Dump(&b, func(_ uint16, data []byte) error {
		if in, r := decodeNFTRule(data); in == of {
			return each(r)
		}
		return nil
	})
}

// nftJumps returns the jumps of a built-in chain to chains of ours, and where they
// stand. It costs with the rules of that chain.
func nftJumps(c *Conn, family Family, from Chain, ours Ours) (jumps []nftRule, k rank, err error) {
	jumps, err = steady(func() (out []nftRule, err error) {
		k = rank{place: ours.Places[from]}
		err = eachNFTRule(c, family, from, func(r nftRule) error {
			if k.takeNFT(ours, r) {
				out = append(out, r)
			}
			return nil
		})
		return out, err
	}, sameHandle)
	return jumps, k, nftFailed(from, family, err)
}

// takeNFT takes in a rule, and reports whether it is a jump of ours.
func (k *rank) takeNFT(ours Ours, r nftRule) bool {
	if ours.own(r.to) {
		k.own()
		return true
	}
	k.other(ours, r.to, r.word)
	return false
}

// headLimit is how many rules nftHead reads: a few of the kernel's answers.
const headLimit = 500

var errHead = errors.New("enough rules have been read")

// nftHead is nftJumps of the first rules of a chain. It ends behind n jumps if what comes
// then does not matter.
func nftHead(c *Conn, family Family, from Chain, ours Ours, n int) (jumps []nftRule, k rank, err error) {
	k = rank{place: ours.Places[from]}
	seen := 0
	err = eachNFTRule(c, family, from, func(r nftRule) error {
		if k.takeNFT(ours, r) {
			jumps = append(jumps, r)
		}
		if seen++; len(jumps) == n && k.place != Behind || seen == headLimit {
			return errHead
		}
		return nil
	})
	if errors.Is(err, errHead) {
		err = nil
	}
	return jumps, k, nftFailed(from, family, err)
}

// hasNFTRule reports whether a chain has the rule that got a handle, which no other
// ever gets.
func hasNFTRule(c *Conn, family Family, of Chain, handle uint64) (bool, error) {
	var b Batch
	beginGetRule(&b, family, of)
	b.Attr(unix.NFTA_RULE_HANDLE, binary.BigEndian.AppendUint64(nil, handle)...)
	err := c.Get(&b, func(uint16, []byte) error { return nil })
	if absent(err) {
		return false, nil
	}
	return err == nil, err
}

func beginGetRule(b *Batch, family Family, of Chain) {
	b.Begin(nftTable|unix.NFT_MSG_GETRULE, 0, family.Inet(), unix.NFNETLINK_V0, 0, 0)
	b.String(unix.NFTA_RULE_TABLE, of.Table)
	b.String(unix.NFTA_RULE_CHAIN, of.Name)
}

// steady calls read until it is not interrupted, or finds twice the same, five times
// at the most. The kernel calls a dump interrupted if anything of nftables changes
// meanwhile, so that beside a program that changes a table of its own 15 times a
// second a long dump always is.
func steady[T any](read func() ([]T, error), same func(a, b T) bool) ([]T, error) {
	var before []T
	for try := range 5 {
		now, err := read()
		if !errors.Is(err, ErrInterrupted) {
			return now, err
		}
		if try > 0 && slices.EqualFunc(before, now, same) {
			return now, nil
		}
		before = now
	}
	return nil, ErrInterrupted
}

func decodeNFTRule(data []byte) (in Chain, r nftRule) {
	for a := range nftAttrs(data) {
		switch a.Type {
		case unix.NFTA_RULE_TABLE:
			in.Table = cString(a.Data)
		case unix.NFTA_RULE_CHAIN:
			in.Name = cString(a.Data)
		case unix.NFTA_RULE_HANDLE:
			if len(a.Data) == 8 {
				r.handle = binary.BigEndian.Uint64(a.Data)
			}
		case unix.NFTA_RULE_EXPRESSIONS:
			r.expressions(a.Data)
		}
	}
	return in, r
}

// expressions takes in what a rule does.
func (r *nftRule) expressions(list []byte) {
	n := 0
	for e := range attrs(list) {
		name := ""
		var body []byte
		for a := range attrs(e.Data) {
			switch a.Type {
			case unix.NFTA_EXPR_NAME:
				name = cString(a.Data)
			case unix.NFTA_EXPR_DATA:
				body = a.Data
			}
		}
		switch name {
		case "counter", "last": // they tell what was, not what will be
			continue
		case "immediate":
			r.verdict(body)
		case "target":
			r.word = xtTarget(body)
		case "reject", "masq", "redir", "queue":
			r.word = strings.ToUpper(name)
		}
		n++
		r.body = append(r.body, e.Data...)
	}
	r.plain = n == 1 && r.to != ""
}

// verdict takes in where an immediate expression leads to, if to a chain.
func (r *nftRule) verdict(immediate []byte) {
	for a := range attrs(immediate) {
		if a.Type != unix.NFTA_IMMEDIATE_DATA {
			continue
		}
		for v := range attrs(a.Data) {
			if v.Type != unix.NFTA_DATA_VERDICT {
				continue
			}
			how := " "
			for w := range attrs(v.Data) {
				switch {
				case w.Type == unix.NFTA_VERDICT_CHAIN:
					r.to = cString(w.Data)
				case len(w.Data) == 4 && verdictWords[int32(binary.BigEndian.Uint32(w.Data))] != "":
					r.word = verdictWords[int32(binary.BigEndian.Uint32(w.Data))]
				case len(w.Data) == 4 && int32(binary.BigEndian.Uint32(w.Data)) == unix.NFT_GOTO:
					how = "-g "
				case len(w.Data) == 4 && int32(binary.BigEndian.Uint32(w.Data)) == unix.NFT_JUMP:
					how = "-j "
				}
			}
			r.jump = how + r.to
		}
	}
}

// verdictWords are the names of verdicts that end a chain.
var verdictWords = map[int32]string{unix.NFT_RETURN: "RETURN", 0: "DROP", 1: "ACCEPT"} // of linux/netfilter.h

// xtTarget returns the name of a target of iptables.
func xtTarget(body []byte) string {
	for a := range attrs(body) {
		if a.Type == unix.NFTA_TARGET_NAME {
			return cString(a.Data)
		}
	}
	return ""
}

// nftAttrs yields the attributes of a message of nftables.
func nftAttrs(data []byte) iter.Seq[Attr] {
	const header = 4 // struct nfgenmsg
	return attrs(data[min(header, len(data)):])
}

// attrs yields the attributes in p, up to the first that is malformed.
func attrs(p []byte) iter.Seq[Attr] {
	return func(yield func(Attr) bool) {
		for {
			a, rest, ok := NextAttr(p)
			if !ok || !yield(a) {
				return
			}
			p = rest
		}
	}
}

// cString returns a string attribute.
func cString(p []byte) string {
	text, _, _ := bytes.Cut(p, []byte{0})
	return string(text)
}
