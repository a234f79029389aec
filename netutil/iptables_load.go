package netutil

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// legacyModules are those that the legacy variant of each family rests on.
var legacyModules = map[int]string{4: "ip_tables", 6: "ip6_tables"}

// natChains are names by which modprobe knows on every kernel what brings chains of type nat
// of a family: nft_chain_nat, or on older ones nft_chain_nat_ipv4 and nft_chain_nat_ipv6.
var natChains = map[int]string{4: "nft-chain-2-nat", 6: "nft-chain-10-nat"}

// Load makes the kernel load the modules of the legacy variant, as LoadModule does. For nft it
// does nothing, since requests load its modules.
func (b Backend) Load() error {
	if b != Legacy {
		return nil
	}
	for _, family := range []int{4, 6} {
		if _, err := os.Stat(legacyNames(family)); err == nil {
			continue
		}
		if err := LoadModule(legacyModules[family]); err != nil {
			return err
		}
	}
	return nil
}

// ProbeChains has the kernel load the types of chains that the nft variant's built-in chains
// of a family, 4 or 6, have: the tool makes these when rules of ours come to stand in them,
// and not before. One transaction makes a table with chains and deletes it again; it does nothing
// where another program has a table of that name. The error is ErrAbsent where the kernel lacks
// a type. The legacy variant has no types.
func (b Backend) ProbeChains(family int) error {
	if b != NFT {
		return nil
	}
	c, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	const table = "kube-ipvs-probe"
	t := beginTransaction(family)
	t.request(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, text(unix.NFTA_TABLE_NAME, table)) // one that is there is another program's
	t.request(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, baseChain(table, "nat", "nat", slices.Index(hookNames[:], "PREROUTING"), ownPriority))
	t.request(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, baseChain(table, "mangle", "route", slices.Index(hookNames[:], "OUTPUT"), ownPriority))
	t.request(unix.NFT_MSG_DELTABLE, 0, text(unix.NFTA_TABLE_NAME, table))
	if err = t.commit(c); absent(err) {
		err = fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("try chains of nftables of IPv%d: %w", family, err)
	}
	return nil
}

// Missing returns the missing modules of this variant for a family, 4 or 6, after a request for
// its tables has failed.
func (b Backend) Missing(family int) []string {
	v := map[int]string{4: "", 6: "6"}[family]
	if b != Legacy {
		return []string{"nf_tables", "nft_compat", natChains[family]}
	}
	if _, err := os.Stat(legacyNames(family)); err != nil {
		return []string{legacyModules[family]}
	}
	there := legacyTables(family)
	var out []string
	for _, t := range ourTables {
		if !slices.Contains(there, t) {
			out = append(out, "ip"+v+"table_"+t)
		}
	}
	return out
}

// legacyNames is the file that lists the legacy tables of a family. There is none where
// the kernel has not loaded the legacy variant.
func legacyNames(family int) string {
	if family == 6 {
		return "/proc/thread-self/net/ip6_tables_names"
	}
	return "/proc/thread-self/net/ip_tables_names"
}
