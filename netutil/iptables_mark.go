package netutil

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Mark sums up what is ours of the rules of a family.
type Mark struct {
	chains map[Chain]digest
	jumps  digest
	places []place       // of the jumps, with NFT
	sizes  [3]legacyInfo // of ourTables, with Legacy
}

type digest [sha256.Size]byte

// place is where a rule stands.
type place struct {
	in     Chain
	handle uint64
}

// Same reports whether two Marks of the same Ruleset say the same. The zero Mark
// is like none that was taken.
func (m Mark) Same(o Mark) bool {
	return m.jumps == o.jumps && m.jumps != digest{} && maps.Equal(m.chains, o.chains)
}

// MarkRules sums up the chains of the Ruleset of, as they are now, and the jumps
// from built-in chains to chains whose name begins with prefix. It starts no
// process. Marks that are the same mean that nothing is other than it was but
// counters, and where our jumps stand.
//
// With a Mark of before it costs nothing for rules of others, so that one can look
// often, and may miss a little: a jump that has come twice; with Legacy, of which
// the kernel hands out tables as a whole only, rules in the place of as many others
// of the same size. With the zero Mark it looks closely. That costs with the rules
// of others in built-in chains, and with Legacy with all of them.
func (b Backend) MarkRules(family int, prefix string, of Ruleset, before Mark) (Mark, error) {
	if b == Legacy {
		return markLegacy(family, prefix, of, before)
	}
	c, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return Mark{}, err
	}
	defer c.Close()
	m, err := markNFT(c, family, prefix, of, before)
	if absent(err) {
		err = fmt.Errorf("%w: %w", errAbsent, err)
	}
	return m, err
}

func markNFT(c *Conn, family int, prefix string, of Ruleset, before Mark) (out Mark, err error) {
	out.chains = map[Chain]digest{}
	for _, in := range ownChains(of) {
		if out.chains[in], err = nftDigest(c, family, in); err != nil {
			return out, err
		}
	}
	if before.Same(before) && maps.Equal(before.chains, out.chains) {
		if stand, err := stillThere(c, family, before.places); stand || err != nil {
			return before, err
		}
	}
	var jumps []digest
	for _, in := range builtIn() {
		rules, err := nftRules(c, family, in, leadsTo(prefix))
		if err != nil {
			return out, err
		}
		for _, r := range rules {
			jumps = append(jumps, digestOf(in, r.to, r.body))
			out.places = append(out.places, place{in, r.handle})
		}
	}
	out.jumps = inAnyOrder(jumps)
	return out, nil
}

// nftDigest sums up a chain; one that is not there is like one without rules.
func nftDigest(c *Conn, family int, in Chain) (digest, error) {
	rules, err := nftRules(c, family, in, func(nftRule) bool { return true })
	sum := marker{sha256.New()}
	for _, r := range rules {
		sum.rule(in, r.to, r.body)
	}
	return sum.digest(), err
}

// stillThere reports whether the rules at all places are there.
func stillThere(c *Conn, family int, places []place) (bool, error) {
	for _, p := range places {
		if there, err := hasNFTRule(c, family, p.in, p.handle); !there || err != nil {
			return false, err
		}
	}
	return true, nil
}

// ownChains lists the chains of a Ruleset in ourTables.
func ownChains(of Ruleset) (out []Chain) {
	for _, table := range ourTables {
		for _, c := range of.get(table).chains {
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

func markLegacy(family int, prefix string, of Ruleset, before Mark) (out Mark, err error) {
	tables := legacyTables(family)
	out.sizes, err = legacySizes(family, tables) // before the rules: a change between the two shows the next time
	if err != nil {
		return out, err
	}
	if before.Same(before) && before.sizes == out.sizes {
		return before, nil
	}
	out.chains = map[Chain]digest{}
	var jumps []digest
	ours := ownChains(of)
	err = eachLegacy(family, tables, func(c legacyChain) {
		own := marker{sha256.New()}
		for _, r := range c.rules {
			own.rule(c.Chain, r.to, r.body)
			if c.base && strings.HasPrefix(r.to, prefix) {
				jumps = append(jumps, digestOf(c.Chain, r.to, r.body))
			}
		}
		if slices.Contains(ours, c.Chain) {
			out.chains[c.Chain] = own.digest()
		}
	})
	out.jumps = inAnyOrder(jumps)
	return out, err
}

// marker sums up rules.
type marker struct{ hash.Hash }

func (m marker) digest() (out digest) {
	m.Sum(out[:0])
	return out
}

func digestOf(in Chain, to string, body []byte) digest {
	m := marker{sha256.New()}
	m.rule(in, to, body)
	return m.digest()
}

func inAnyOrder(all []digest) digest {
	slices.SortFunc(all, func(a, b digest) int { return bytes.Compare(a[:], b[:]) })
	m := marker{sha256.New()}
	for _, d := range all {
		m.Write(d[:])
	}
	return m.digest()
}

func (m marker) rule(in Chain, to string, body []byte) {
	for _, part := range []string{in.Table, in.Name, to, string(body)} {
		m.Write(binary.NativeEndian.AppendUint64(nil, uint64(len(part)))) // no part can pass for the end of another
		m.Write([]byte(part))
	}
}
