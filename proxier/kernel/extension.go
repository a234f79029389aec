package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"kube-ipvs/netutil"
)

// extension is a match or a target that the kernel may have in a module of its own, and
// rules that try it, one for each way in which it is used.
type extension struct {
	name  string
	rules []probe
}

// probe is a rule without its chain.
type probe struct{ table, text string }

// carriers are the modules that are not called xt_ and the extension's name.
var carriers = map[string]string{"MARK": "xt_mark", "DNAT": "xt_nat"}

// module names what carries the extension, as modprobe knows it on every kernel.
func (e extension) module(family netip.Addr) string {
	// MASQUERADE is one module for both families since Linux 5.2, xt_MASQUERADE, and has
	// the names that it had before as aliases.
	if e.name == "REJECT" || e.name == "MASQUERADE" {
		if family.Is6() {
			return "ip6t_" + e.name
		}
		return "ipt_" + e.name
	}
	if name, ok := carriers[e.name]; ok {
		return name
	}
	return "xt_" + e.name
}

// verdicts are targets that are no extensions.
var verdicts = []string{"ACCEPT", "DROP", "RETURN"}

var matchSet = regexp.MustCompile(`--match-set \S+`)

// extensionsOf lists what rules use of iptables, with set in the place of all sets. What
// stands in a table of nftables is not iptables'.
func extensionsOf(rules string, family netip.Addr, set string) []extension {
	var out []extension
	table := ""
	for _, line := range strings.Split(rules, "\n") {
		if name, ok := strings.CutPrefix(line, "*"); ok {
			table = name
		}
		words := strings.Fields(line)
		if table == netutil.OwnTable || len(words) < 2 || words[0] != "-A" {
			continue
		}
		for _, part := range parts(words[2:]) {
			if strings.HasPrefix(part.name, prefix(family)) || slices.Contains(verdicts, part.name) {
				continue
			}
			p := probe{table, matchSet.ReplaceAllString(part.text, "--match-set "+set)}
			i := slices.IndexFunc(out, func(e extension) bool { return e.name == part.name })
			if i < 0 {
				i, out = len(out), append(out, extension{name: part.name})
			}
			if !slices.Contains(out[i].rules, p) {
				out[i].rules = append(out[i].rules, p)
			}
		}
	}
	return out
}

type part struct{ name, text string }

// parts splits a rule at each -m, -j and -g. Those behind a protocol keep that: some
// extensions are for one protocol.
func parts(words []string) []part {
	var out []part
	protocol := ""
	for len(words) > 0 {
		end := 1
		for end < len(words) && !slices.Contains([]string{"-m", "-j", "-g", "-p"}, words[end]) {
			end++
		}
		switch words[0] {
		case "-p":
			protocol = strings.Join(words[:2], " ") + " "
		case "-m", "-j", "-g":
			out = append(out, part{words[1], protocol + strings.Join(words[:end], " ")})
		}
		words = words[end:]
	}
	return out
}

// probesOf returns the rules that try extensions, by table.
func probesOf(extensions []extension) map[string][]string {
	out := map[string][]string{"mangle": nil, "nat": nil, "filter": nil}
	for _, e := range extensions {
		for _, p := range e.rules {
			out[p.table] = append(out[p.table], p.text)
		}
	}
	return out
}

// scratch puts rules into a scratch chain of each table that is named, and removes the
// chains again. Nothing jumps to them.
func scratch(ctx context.Context, b netutil.Backend, family netip.Addr, rules map[string][]string) error {
	chain := prefix(family) + "PROBE"
	var add, remove strings.Builder
	for table, texts := range rules {
		fmt.Fprintf(&add, "*%s\n:%s - [0:0]\n", table, chain)
		for _, text := range texts {
			fmt.Fprintf(&add, "-A %s %s\n", chain, text)
		}
		add.WriteString("COMMIT\n")
		fmt.Fprintf(&remove, "*%[1]s\n:%[2]s - [0:0]\n-X %[2]s\nCOMMIT\n", table, chain)
	}
	failed := b.Restore(ctx, number(family), add.String())
	return errors.Join(failed, b.Restore(ctx, number(family), remove.String()))
}
