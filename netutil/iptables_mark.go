package netutil

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// Mark is a digest of our rules of a family.
type Mark struct {
	chains map[Chain]digest
	jumps  digest          // our jumps and their places
	stands map[Chain]stand // the same in full, with NFT
	wrong  bool            // a jump is misplaced
	sizes  [3]legacyInfo   // sizes of ourTables, with Legacy
}

type digest [sha256.Size]byte

// stand has the places of our jumps in a built-in chain.
type stand struct {
	handles []uint64
	wrong   string // the misplaced rule, in words
}

// Misplaced reports whether a jump is misplaced.
func (m Mark) Misplaced() bool { return m.wrong }

// Same reports whether two Marks of the same Ruleset are equal. The zero Mark equals no other.
func (m Mark) Same(o Mark) bool {
	return m.jumps == o.jumps && m.jumps != digest{} && maps.Equal(m.chains, o.chains)
}

// MarkRules returns a digest of the present chains of the Ruleset of, of the jumps from built-in
// chains to our chains, and of misplaced jumps. It starts no process. Equal Marks mean that
// only counters have changed, and rules of other programs in places that do not matter.
//
// With a Mark of before it reads no rules of other programs except those in front of our jumps,
// at most headLimit, so that it is cheap enough to be called often. It may miss a jump that has
// come twice, and one behind so many rules that has lost its place; with Legacy, whose tables
// the kernel only returns as a whole, also rules in the place of as many others of the same
// size. With the zero Mark it compares all: the cost then grows with the rules of other programs
// in built-in chains, and with Legacy with all rules.
func (b Backend) MarkRules(family Family, ours Ours, of Ruleset, before Mark) (Mark, error) {
	if b == Legacy {
		return markLegacy(family, ours, of, before)
	}
	c, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return Mark{}, err
	}
	defer c.Close()
	m, err := markNFT(c, family, ours, of, before)
	if absent(err) {
		err = fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	return m, err
}

func markNFT(c *Conn, family Family, ours Ours, of Ruleset, before Mark) (out Mark, err error) {
	out.chains = map[Chain]digest{}
	for _, in := range ownChains(of) {
		if out.chains[in], err = nftDigest(c, family, in); err != nil {
			return out, err
		}
	}
	if before.Same(before) && maps.Equal(before.chains, out.chains) {
		if stand, err := stillThere(c, family, ours, before.stands); stand || err != nil {
			return before, err
		}
	}
	sum := marker{sha256.New()}
	out.stands = map[Chain]stand{}
	for _, in := range builtIn() {
		rules, k, err := nftJumps(c, family, in, ours)
		if err != nil {
			return out, err
		}
		if len(rules) > 0 {
			out.stands[in] = standOf(rules, k)
		}
		for _, r := range rules {
			sum.rule(in, r.to, r.body)
		}
		sum.rank(in, k)
		out.wrong = out.wrong || k.wrong != ""
	}
	out.jumps = sum.digest()
	return out, nil
}

func standOf(jumps []nftRule, k rank) stand {
	s := stand{wrong: k.wrong}
	for _, r := range jumps {
		s.handles = append(s.handles, r.handle)
	}
	return s
}

// nftDigest sums up a chain; one that is not there is like one without rules.
func nftDigest(c *Conn, family Family, in Chain) (digest, error) {
	rules, err := nftRules(c, family, in, func(nftRule) bool { return true })
	sum := marker{sha256.New()}
	for _, r := range rules {
		sum.rule(in, r.to, r.body)
	}
	return sum.digest(), err
}

// stillThere reports whether the jumps of all chains are there, and stand as they did.
func stillThere(c *Conn, family Family, ours Ours, stands map[Chain]stand) (bool, error) {
	for in, before := range stands {
		if ours.Places[in] != Anywhere {
			jumps, k, err := nftHead(c, family, in, ours, len(before.handles))
			now := standOf(jumps, k)
			switch {
			case err != nil:
				return false, err
			case now.wrong == before.wrong && slices.Equal(now.handles, before.handles):
				continue
			case k.others+len(jumps) < headLimit:
				return false, nil
			}
		}
		for _, handle := range before.handles { // behind more rules than are read
			if there, err := hasNFTRule(c, family, in, handle); !there || err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// ownChains lists the chains of a Ruleset in ourTables.
func ownChains(of Ruleset) (out []Chain) {
	for _, table := range ourTables {
		for _, c := range of.get(table).own {
			out = append(out, Chain{table, c.name})
		}
	}
	return out
}

// builtIn lists what may be built-in chains of ourTables.
func builtIn() (out []Chain) {
	for _, table := range ourTables {
		for _, name := range hookNames {
			out = append(out, Chain{table, name})
		}
	}
	return out
}

func markLegacy(family Family, ours Ours, of Ruleset, before Mark) (out Mark, err error) {
	tables := legacyTables(family)
	out.sizes, err = legacySizes(family, tables) // before the rules: a change between the two shows the next time
	if err != nil {
		return out, err
	}
	if before.Same(before) && before.sizes == out.sizes {
		return before, nil
	}
	out.chains = map[Chain]digest{}
	own, jumps := ownChains(of), marker{sha256.New()}
	err = eachLegacy(family, tables, func(c legacyChain) {
		sum, k := marker{sha256.New()}, rank{place: ours.Places[c.Chain]}
		for _, r := range c.rules {
			sum.rule(c.Chain, r.to, r.body)
			switch {
			case !c.base:
			case ours.own(r.to):
				jumps.rule(c.Chain, r.to, r.body)
				k.own()
			default:
				k.other(ours, r.to, r.word)
			}
		}
		jumps.rank(c.Chain, k)
		out.wrong = out.wrong || k.wrong != ""
		if slices.Contains(own, c.Chain) {
			out.chains[c.Chain] = sum.digest()
		}
	})
	out.jumps = jumps.digest()
	return out, err
}

// marker sums up rules.
type marker struct{ hash.Hash }

func (m marker) digest() (out digest) {
	m.Sum(out[:0])
	return out
}

func (m marker) rule(in Chain, to string, body []byte) {
	m.words(in.Table, in.Name, to, string(body))
}

func (m marker) rank(in Chain, k rank) {
	if k.wrong != "" {
		m.words(in.Table, in.Name, k.wrong)
	}
}

func (m marker) words(parts ...string) {
	for _, part := range parts {
		m.Write(binary.NativeEndian.AppendUint64(nil, uint64(len(part)))) // no part can pass for the end of another
		m.Write([]byte(part))
	}
}
