package netutil

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil/iptables"
)

// ReadRules reads our rules of a family in the tables mangle, nat and filter: our
// chains, the jumps to them from built-in chains, and their places. It changes nothing.
//
// Rules of others are no hindrance. The nft tools print a chain only if they can
// express all of its rules, and read all of a table anew at each change of any
// table: they are asked for our chains alone, and the kernel for the jumps. A
// chain of ours with a rule that is not iptables' is taken for one with a rule
// that is too much. A jump from such a chain of others counts only if it has no
// match, as ours have none.
func (b Backend) ReadRules(ctx context.Context, family Family, ours Ours) (Ruleset, error) {
	return b.ReadChangedRules(ctx, family, ours, Ruleset{}, Mark{})
}

// ReadChangedRules is ReadRules for rules of which it is known that they were those of
// was when they had a Mark. With NFT it need not have the tool print chains, then: those
// that are as they were hold the rules that they held, and others hold others.
func (b Backend) ReadChangedRules(ctx context.Context, family Family, ours Ours, was Ruleset, mark Mark) (Ruleset, error) {
	var rules Ruleset
	var err error
	if b == Legacy {
		rules, err = b.readLegacy(ctx, family, ours)
	} else {
		rules, err = b.readNFT(ctx, family, ours, was, mark)
	}
	if err != nil {
		return Ruleset{}, fmt.Errorf("read rules of %s: %w", family, err)
	}
	return rules, nil
}

// readLegacy costs with all rules in the tables, those of other programs too. The tool is not kept
// from its end by changes of others, and takes no lock.
func (b Backend) readLegacy(ctx context.Context, family Family, ours Ours) (Ruleset, error) {
	text, err := b.savedLegacy(ctx, family)
	if err != nil {
		return Ruleset{}, err
	}
	return parseRules(text, ours)
}

// savedLegacy returns what iptables-legacy-save prints of ourTables.
func (b Backend) savedLegacy(ctx context.Context, family Family) (string, error) {
	var text strings.Builder
	for _, table := range legacyTables(family) {
		tool, err := b.tool(ctx, family, "save")
		if err != nil {
			return "", err
		}
		out, msg, err := run(ctx, "", tool, "-t", table)
		if err != nil {
			return "", fmt.Errorf("%s -t %s: %w: %s", tool, table, err, oneLine(msg))
		}
		text.WriteString(out)
	}
	return text.String(), nil
}

func (b Backend) readNFT(ctx context.Context, family Family, ours Ours, was Ruleset, mark Mark) (Ruleset, error) {
	c, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return Ruleset{}, err
	}
	defer c.Close()
	chains, err := nftChains(c, family)
	if absent(err) {
		return Ruleset{}, nil
	}
	if err != nil {
		return Ruleset{}, err
	}
	known, err := unchanged(c, family, was, mark)
	if err != nil {
		return Ruleset{}, err
	}
	var ask []Chain
	jumps, ranks := map[Chain][]string{}, map[Chain]rank{}
	for _, ch := range chains {
		switch {
		case ours.own(ch.Name):
			if len(mark.chains) == 0 {
				ask = append(ask, ch.Chain)
			}
		case ch.base:
			found, k, err := nftJumps(c, family, ch.Chain, ours)
			if err != nil {
				return Ruleset{}, err
			}
			var odd bool
			jumps[ch.Chain], odd = spellJumps(found)
			ranks[ch.Chain] = k
			if odd {
				ask = append(ask, ch.Chain)
			}
		}
	}
	printed, err := b.list(ctx, family, ask)
	if err != nil {
		return Ruleset{}, err
	}
	out, err := assemble(chains, ours, jumps, printed, known)
	for in, k := range ranks {
		out.table(in.Table).hook(in.Name, ours).rank = k
	}
	return out, err
}

// unchanged returns the rules of those chains of was that are as they were when they
// had the mark.
func unchanged(c *Conn, family Family, was Ruleset, mark Mark) (map[Chain][]rule, error) {
	out := map[Chain][]rule{}
	for in, before := range mark.chains {
		now, err := nftDigest(c, family, in)
		if err != nil {
			return nil, err
		}
		if ch := find(was.get(in.Table).own, in.Name); ch != nil && now == before {
			out[in] = ch.rules
		}
	}
	return out, nil
}

// spellJumps returns those jumps that do nothing but lead to their chain, as iptables
// spells them; odd says that there are others, too.
func spellJumps(jumps []nftRule) (rules []string, odd bool) {
	for _, r := range jumps {
		if r.plain {
			rules = append(rules, r.jump)
		} else {
			odd = true
		}
	}
	return rules, odd
}

// assemble makes a Ruleset of what the tool has printed of some chains, of the jumps that
// the kernel told of for those that it has not, and of the rules of chains that are known.
func assemble(chains []nftChain, ours Ours, jumps, printed map[Chain][]string, known map[Chain][]rule) (Ruleset, error) {
	var out Ruleset
	declared := map[Chain]bool{}
	for _, ch := range chains {
		rules, isPrinted := printed[ch.Chain]
		if !isPrinted {
			rules = jumps[ch.Chain]
		}
		var lines []iptables.Line
		if ours.own(ch.Name) {
			lines = append(lines, iptables.Line{Table: ch.Table, Chain: ch.Name, Policy: "-"})
		}
		for _, r := range rules {
			lines = append(lines, iptables.Line{Table: ch.Table, Chain: ch.Name, Rule: r})
		}
		for _, l := range lines {
			if err := out.add(l, ours, declared); err != nil {
				return Ruleset{}, err
			}
		}
		if is, ok := known[ch.Chain]; ok {
			find(out.table(ch.Table).own, ch.Name).rules = is
		} else if !isPrinted && ours.own(ch.Name) {
			find(out.table(ch.Table).own, ch.Name).rules = unreadableIn(ch.Name)
		}
	}
	return out, nil
}

// unreadable stands for the rules of one of our chains that the tool does not print.
const unreadable = "(rules that iptables does not print)"

func unreadableIn(chain string) []rule {
	return []rule{{iptables.Rule{Chain: chain, Text: unreadable}, unreadable}}
}

// Unreadable returns our chains, as "TABLE CHAIN", whose rules the tool does not print, since
// it could not have written one of them.
func (r Ruleset) Unreadable() []string {
	var out []string
	for _, t := range r.tables {
		for _, c := range t.own {
			if len(c.rules) == 1 && c.rules[0].canon == unreadable {
				out = append(out, t.name+" "+c.name)
			}
		}
	}
	return out
}

// errSlow means that the tool did not end in time.
var errSlow = errors.New("the tool is too slow")

// list has the nft tool print the rules of chains, of which those that it does not
// print are left out. The tool reads nothing but these and the built-in chains of
// their tables: it is iptables-restore, which unlike iptables-save knows what it is
// asked for before it begins, and takes any number of commands. From 1.8.6 on it costs
// nothing for what others have in chains of their own. With ten thousand rules in a
// built-in one and a program that changes nftables all the time it has no end: it
// begins anew at each change. Writing, which has to read none of that, does end. 1.8.4
// may crash when it is asked for chains of several tables at once: each is asked for alone
// then, as where there is one that it cannot print.
func (b Backend) list(ctx context.Context, family Family, chains []Chain) (map[Chain][]string, error) {
	out := map[Chain][]string{}
	if len(chains) == 0 {
		return out, nil
	}
	tool, err := b.tool(ctx, family, "restore")
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeoutCause(ctx, toolDeadline/3, errSlow)
	defer cancel()
	text, msg, err := run(bounded, listInput(chains), tool, "--noflush")
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out, parseList(out, chains, text)
	case errors.Is(err, errSlow):
		return out, nil
	case !errors.As(err, &exit) || exit.ExitCode() >= 0 && !strings.Contains(msg, incompatible):
		return nil, fmt.Errorf("%s: %w: %s", tool, err, oneLine(msg))
	case len(chains) == 1:
		return out, nil
	}
	for _, c := range chains {
		one, err := b.list(ctx, family, []Chain{c})
		if err != nil {
			return nil, err
		}
		maps.Copy(out, one)
	}
	return out, nil
}

// incompatible is what the nft tools say of a chain or table with a rule that they cannot
// express; iptables-save says it among the rules that it prints, and does not fail.
const incompatible = "is incompatible, use 'nft' tool"

// listInput returns the input for iptables-restore to print chains.
func listInput(chains []Chain) string {
	var in strings.Builder
	for _, table := range ourTables {
		if !slices.ContainsFunc(chains, func(c Chain) bool { return c.Table == table }) {
			continue
		}
		fmt.Fprintf(&in, "*%s\n", table)
		for _, c := range chains {
			if c.Table == table {
				fmt.Fprintf(&in, "-S %s\n", c.Name)
			}
		}
		in.WriteString("COMMIT\n")
	}
	return in.String()
}

// parseList cuts what was printed at the chains, which are printed in the order
// in which they were asked for, each behind a line of its own.
func parseList(out map[Chain][]string, chains []Chain, text string) error {
	next := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "-N "), strings.HasPrefix(line, "-P "):
			if name := strings.Fields(line)[1]; next == len(chains) || name != chains[next].Name {
				return fmt.Errorf("iptables prints chain %s, which is not the one that comes next", name)
			}
			out[chains[next]] = []string{}
			next++
		case next > 0 && strings.HasPrefix(line, "-A "):
			in := chains[next-1]
			_, rule, _ := strings.Cut(line[len("-A "):], " ")
			out[in] = append(out[in], rule)
		default:
			return fmt.Errorf("iptables prints %q", line)
		}
	}
	if next < len(chains) {
		return fmt.Errorf("iptables does not print chain %s", chains[next].Name)
	}
	return nil
}
