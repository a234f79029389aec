package netutil

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil/iptables"
)

// ownPriority is just before dstnat, at which others have their DNAT. What is below it
// comes before us on purpose.
const ownPriority = -101

// tableRequest is a request about OwnTable as a whole.
type tableRequest struct {
	typ   uint16
	flags int
}

var (
	makeTable   = tableRequest{unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE} // unless it is there
	makeNew     = tableRequest{unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE | unix.NLM_F_EXCL}
	deleteTable = tableRequest{unix.NFT_MSG_DELTABLE, 0}
)

// encodeOwn is a transaction that makes the chains of OwnTable between requests about
// that table.
func encodeOwn(family Family, chains []ownChain, index SetIndex, before, after []tableRequest) (*transaction, error) {
	t := beginTransaction(family)
	table := func(requests []tableRequest) {
		for _, r := range requests {
			t.request(r.typ, r.flags, text(unix.NFTA_TABLE_NAME, OwnTable))
		}
	}
	table(before)
	for _, c := range chains {
		t.request(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, c.encode())
	}
	for _, c := range chains {
		for _, r := range c.rules {
			list, err := encodeOwnRule(r.Rule, family, index)
			if err != nil {
				return nil, fmt.Errorf("rule %s: %w", r, err)
			}
			t.request(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND,
				text(unix.NFTA_RULE_TABLE, OwnTable), text(unix.NFTA_RULE_CHAIN, c.name), nest(unix.NFTA_RULE_EXPRESSIONS, list))
		}
	}
	table(after)
	return t, nil
}

// encode returns the attributes of the chain.
func (c ownChain) encode() []byte {
	if c.hooked() {
		return baseChain(OwnTable, c.name, "nat", c.hook, ownPriority)
	}
	return slices.Concat(text(unix.NFTA_CHAIN_TABLE, OwnTable), text(unix.NFTA_CHAIN_NAME, c.name))
}

// baseChain returns the attributes of a chain at a hook.
func baseChain(table, name, typ string, hook int, priority int32) []byte {
	return slices.Concat(text(unix.NFTA_CHAIN_TABLE, table), text(unix.NFTA_CHAIN_NAME, name),
		nest(unix.NFTA_CHAIN_HOOK, be32(unix.NFTA_HOOK_HOOKNUM, uint32(hook)), be32(unix.NFTA_HOOK_PRIORITY, uint32(priority))),
		text(unix.NFTA_CHAIN_TYPE, typ))
}

// encodeOwnRule returns the expressions of a rule. It knows the matches and targets that
// OwnTable needs. NETMAP to a prefix of no bits leaves the destination as it is, and keeps
// all NAT that comes later from it.
func encodeOwnRule(rule iptables.Rule, family Family, index SetIndex) ([]byte, error) {
	e := ownRule{family: uint32(family.Inet()), width: 4, source: 12, destination: 16}
	if family == IPv6 {
		e.width, e.source, e.destination = 16, 8, 24
	}
	for _, o := range rule.Options {
		if err := e.option(o, index); err != nil {
			return nil, fmt.Errorf("%q: %w", o, err)
		}
	}
	return e.list, nil
}

// ownRule is the expressions of a rule, which hand each other what they look at in
// the register NFT_REG_1.
type ownRule struct {
	family              uint32
	width               int    // of an address, in bytes
	source, destination uint32 // where in the header the address is
	list                []byte
}

var errNotEncoded = errors.New("kube-ipvs cannot write it as a rule of nftables")

// option adds what an option says.
func (e *ownRule) option(o iptables.Option, index SetIndex) error {
	if len(o.Args) == 0 {
		return errNotEncoded
	}
	arg := o.Args[0]
	switch o.Name {
	case "-m":
		return nil // its options follow
	case "--match-set":
		return e.matchSet(o.Args, o.Not, index)
	case "-i":
		e.link(arg, o.Not)
		return nil
	case "-s", "--to":
		p, err := netip.ParsePrefix(arg)
		if err != nil || p.Addr().BitLen() != 8*e.width {
			return errNotEncoded
		}
		if o.Name == "-s" {
			e.from(p.Masked(), o.Not)
		} else {
			e.netmap(p.Masked())
		}
		return nil
	case "--set-xmark":
		return e.setMark(arg)
	case "-j", "-g":
		e.counter()
		switch {
		case arg == "MARK", arg == "NETMAP": // an option of theirs follows
		case o.Name == "-j":
			e.verdict(unix.NFT_JUMP, arg)
		default:
			e.verdict(unix.NFT_GOTO, arg)
		}
		return nil
	}
	return errNotEncoded
}

func (e *ownRule) add(name string, data ...[]byte) {
	e.list = append(e.list, nest(unix.NFTA_LIST_ELEM, text(unix.NFTA_EXPR_NAME, name), nest(unix.NFTA_EXPR_DATA, data...))...)
}

func (e *ownRule) counter() { e.add("counter") }

// matchSet is the match set of xtables, revision 1: struct xt_set_info_match_v1, of
// linux/netfilter/xt_set.h, padded as all of them.
func (e *ownRule) matchSet(args []string, not bool, index SetIndex) error {
	if len(args) < 2 || strings.Contains(args[1], "src") {
		return errNotEncoded
	}
	n, err := index(args[0])
	if err != nil {
		return err
	}
	info := binary.NativeEndian.AppendUint16(nil, n)
	info = append(info, byte(strings.Count(args[1], ",")+1), 0, 0, 0, 0, 0)
	if not {
		info[3] = 1 // IPSET_INV_MATCH
	}
	e.add("match", text(unix.NFTA_MATCH_NAME, "set"), be32(unix.NFTA_MATCH_REV, 1), attr(unix.NFTA_MATCH_INFO, info...))
	return nil
}

// from looks at the source.
func (e *ownRule) from(p netip.Prefix, not bool) {
	e.load(e.source)
	e.bitwise(leading(p), make([]byte, e.width))
	e.compare(p.Addr().AsSlice(), not)
}

// link looks at the link that the packet came in by.
func (e *ownRule) link(name string, not bool) {
	e.add("meta", be32(unix.NFTA_META_DREG, unix.NFT_REG_1), be32(unix.NFTA_META_KEY, unix.NFT_META_IIFNAME))
	if begin, ok := strings.CutSuffix(name, "+"); ok {
		e.compare([]byte(begin), not)
		return
	}
	whole := make([]byte, unix.IFNAMSIZ)
	copy(whole, name)
	e.compare(whole, not)
}

// netmap gives the destination the leading bits of a prefix.
func (e *ownRule) netmap(p netip.Prefix) {
	e.load(e.destination)
	keep := leading(p)
	for i := range keep {
		keep[i] = ^keep[i]
	}
	e.bitwise(keep, p.Addr().AsSlice())
	e.add("nat", be32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT), be32(unix.NFTA_NAT_FAMILY, e.family),
		be32(unix.NFTA_NAT_REG_ADDR_MIN, unix.NFT_REG_1), be32(unix.NFTA_NAT_REG_ADDR_MAX, unix.NFT_REG_1))
}

// setMark clears the bits of a mask and flips those of a value, as --set-xmark does.
func (e *ownRule) setMark(arg string) error {
	value, mask, ok := iptables.Mark(arg)
	if !ok {
		return errNotEncoded
	}
	e.add("meta", be32(unix.NFTA_META_DREG, unix.NFT_REG_1), be32(unix.NFTA_META_KEY, unix.NFT_META_MARK))
	e.bitwise(binary.NativeEndian.AppendUint32(nil, ^mask), binary.NativeEndian.AppendUint32(nil, value))
	e.add("meta", be32(unix.NFTA_META_KEY, unix.NFT_META_MARK), be32(unix.NFTA_META_SREG, unix.NFT_REG_1))
	return nil
}

func (e *ownRule) load(offset uint32) {
	e.add("payload", be32(unix.NFTA_PAYLOAD_DREG, unix.NFT_REG_1), be32(unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_NETWORK_HEADER),
		be32(unix.NFTA_PAYLOAD_OFFSET, offset), be32(unix.NFTA_PAYLOAD_LEN, uint32(e.width)))
}

// bitwise takes the bits of keep and flips those of flip.
func (e *ownRule) bitwise(keep, flip []byte) {
	e.add("bitwise", be32(unix.NFTA_BITWISE_SREG, unix.NFT_REG_1), be32(unix.NFTA_BITWISE_DREG, unix.NFT_REG_1), be32(unix.NFTA_BITWISE_LEN, uint32(len(keep))),
		nest(unix.NFTA_BITWISE_MASK, attr(unix.NFTA_DATA_VALUE, keep...)), nest(unix.NFTA_BITWISE_XOR, attr(unix.NFTA_DATA_VALUE, flip...)))
}

func (e *ownRule) compare(with []byte, not bool) {
	op := uint32(unix.NFT_CMP_EQ)
	if not {
		op = unix.NFT_CMP_NEQ
	}
	e.add("cmp", be32(unix.NFTA_CMP_SREG, unix.NFT_REG_1), be32(unix.NFTA_CMP_OP, op), nest(unix.NFTA_CMP_DATA, attr(unix.NFTA_DATA_VALUE, with...)))
}

func (e *ownRule) verdict(code int32, to string) {
	e.add("immediate", be32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT),
		nest(unix.NFTA_IMMEDIATE_DATA, nest(unix.NFTA_DATA_VERDICT, be32(unix.NFTA_VERDICT_CODE, uint32(code)), text(unix.NFTA_VERDICT_CHAIN, to))))
}

// leading returns the mask of a prefix.
func leading(p netip.Prefix) []byte {
	return net.CIDRMask(p.Bits(), p.Addr().BitLen())
}

// attr encodes an attribute; text, be32 and nest do one of a kind.
func attr(typ uint16, data ...byte) []byte {
	out := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofNlAttr+len(data)))
	out = append(binary.NativeEndian.AppendUint16(out, typ), data...)
	for len(out)%unix.NLA_ALIGNTO != 0 {
		out = append(out, 0)
	}
	return out
}

func text(typ uint16, s string) []byte { return attr(typ, append([]byte(s), 0)...) }

func be32(typ uint16, v uint32) []byte { return attr(typ, binary.BigEndian.AppendUint32(nil, v)...) }

func nest(typ uint16, parts ...[]byte) []byte {
	return attr(typ|unix.NLA_F_NESTED, slices.Concat(parts...)...)
}

// sameExpressions reports whether a rule of the kernel does what another one is to do,
// which is encoded. Counters do not count.
func sameExpressions(is, want []byte) bool {
	next, stop := iter.Pull(expressions(is))
	defer stop()
	for w := range expressions(want) {
		if h, ok := next(); !ok || !covers(h, w) {
			return false
		}
	}
	_, more := next()
	return !more
}

// expressions yields those of a rule that are no counters.
func expressions(list []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for e := range attrs(list) {
			if bytes.HasPrefix(e.Data, text(unix.NFTA_EXPR_NAME, "counter")) {
				continue
			}
			if !yield(e.Data) {
				return
			}
		}
	}
}

// covers reports whether attributes have all that others have: newer kernels say more
// of the same thing. Values that are no attributes have to be equal.
func covers(have, want []byte) bool {
	if bytes.Equal(have, want) {
		return true
	}
	size := 0
	for w := range attrs(want) {
		size += (unix.SizeofNlAttr + len(w.Data) + 3) &^ 3
		found := false
		for h := range attrs(have) {
			found = found || h.Type == w.Type && covers(h.Data, w.Data)
		}
		if !found {
			return false
		}
	}
	return size > 0 && size >= len(want)
}
