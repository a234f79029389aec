package netutil

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// legacyModules are those that the legacy variant of each family rests on.
var legacyModules = [...]string{"ip_tables", "ip6_tables"}

// natChains are names by which modprobe knows on every kernel what brings chains of type nat
// of a family: nft_chain_nat, or on older ones nft_chain_nat_ipv4 and nft_chain_nat_ipv6.
var natChains = [...]string{"nft-chain-2-nat", "nft-chain-10-nat"}

// routeChains are the same for chains of type route, which nf_tables itself brings since Linux
// 5.2.
var routeChains = [...]string{"nft-chain-2-route", "nft-chain-10-route"}

// Load makes the kernel load the modules of the legacy variant, as LoadModule does. For nft it
// does nothing, since requests load its modules.
func (b Backend) Load() error {
	if b != Legacy {
		return nil
	}
	for family, names := range legacyNames {
		if _, err := os.Stat(names); err == nil {
			continue
		}
		if err := LoadModule(legacyModules[family]); err != nil {
			return err
		}
	}
	return nil
}

// part is a part of nftables: a chain of a type, an expression in a rule, or nftables itself.
type part struct {
	what    string
	modules []string // by names that modprobe knows on every kernel that lacks the part
	chain   []byte
	rule    []byte
}

const probeTable = "kube-ipvs-probe"

func chainPart(module, name, typ string) part {
	chain := baseChain(probeTable, name, typ, slices.Index(hookNames[:], name), ownPriority)
	return part{what: "no chains of type " + typ + " in nftables", modules: []string{module}, chain: chain}
}

func rulePart(module, expression string) part {
	var e ownRule
	e.add(expression)
	return part{what: "no expression " + expression + " in nftables", modules: []string{module}, rule: e.list}
}

// ownParts are those on which OwnTable rests.
func ownParts(family Family) []part {
	return []part{
		{what: "no nftables", modules: []string{"nf_tables", "nft_compat", natChains[family]}},
		chainPart(natChains[family], "PREROUTING", "nat"),
		rulePart("nft_counter", "counter"), // a module until Linux 5.16
		rulePart("nft_compat", "match"),
		rulePart("nft_nat", "nat"),
	}
}

// toolParts are those on which the nft variant rests: the tool makes a built-in chain when
// rules of ours come to stand in it, and not before. It writes NAT by nft_compat.
func toolParts(family Family) []part {
	return append(ownParts(family)[:4], chainPart(routeChains[family], "OUTPUT", "route"))
}

// Probe has the kernel load the parts of nftables on which the nft variant rests for a family.
// The error is a MissingModules if the kernel lacks some. The legacy variant has none.
func (b Backend) Probe(family Family) error {
	if b != NFT {
		return nil
	}
	var missing MissingModules
	if err := missing.Add(probeParts(family, toolParts(family))); err != nil {
		return err
	}
	if missing.Err != nil {
		missing.Err = fmt.Errorf("iptables (nft) of %s does not work on this node: %w", family, missing.Err)
	}
	return missing.All()
}

// probeParts tries each part in a table that the same transaction deletes; it does nothing
// where another program has a table of that name.
func probeParts(family Family, parts []part) error {
	c, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	var missing MissingModules
	for _, p := range parts {
		err := p.try(c, family)
		switch {
		case errors.Is(err, unix.EEXIST):
			return nil
		case err == nil, p.rule != nil && errors.Is(err, unix.EINVAL): // the expression is known, and wants attributes
			continue
		case !absent(err):
			return fmt.Errorf("try nftables of %s: %w", family, err)
		}
		_ = missing.Add(&MissingModules{fmt.Errorf("the kernel has %s (%w)", p.what, err), p.modules})
		if p.chain == nil && p.rule == nil {
			break
		}
	}
	return missing.All()
}

func (p part) try(c *Conn, family Family) error {
	t := beginTransaction(family)
	t.request(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, text(unix.NFTA_TABLE_NAME, probeTable)) // one that is there is another program's
	if p.chain != nil {
		t.request(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, p.chain)
	}
	if p.rule != nil {
		t.request(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, text(unix.NFTA_CHAIN_TABLE, probeTable), text(unix.NFTA_CHAIN_NAME, "probe"))
		t.request(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND,
			text(unix.NFTA_RULE_TABLE, probeTable), text(unix.NFTA_RULE_CHAIN, "probe"), nest(unix.NFTA_RULE_EXPRESSIONS, p.rule))
	}
	t.request(unix.NFT_MSG_DELTABLE, 0, text(unix.NFTA_TABLE_NAME, probeTable))
	return t.commit(c)
}

// Missing returns the missing modules of the legacy variant for a family, after a request for
// its tables has failed. Probe names those of nft.
func (b Backend) Missing(family Family) []string {
	if b != Legacy {
		return nil
	}
	if _, err := os.Stat(legacyNames[family]); err != nil {
		return []string{legacyModules[family]}
	}
	there := legacyTables(family)
	var out []string
	for _, t := range ourTables {
		if !slices.Contains(there, t) {
			out = append(out, [...]string{"iptable_", "ip6table_"}[family]+t)
		}
	}
	return out
}

// legacyNames are the files that list the legacy tables of each family. There is none where
// the kernel has not loaded the legacy variant.
var legacyNames = [...]string{"/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names"}
