package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs/netutil"
	"kube-ipvs/netutil/iptables"
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

// extensionsOf lists what rules use of iptables, with set in the place of all sets. What
// stands in a table of nftables is not iptables'.
func extensionsOf(rules string, family netip.Addr, set string) []extension {
	var out []extension
	for l, err := range iptables.Lines(rules) {
		if err != nil || l.Policy != "" || l.Table == netutil.OwnTable {
			continue
		}
		r, _ := iptables.Parse(l.Chain, l.Rule)
		for _, part := range parts(r, set) {
			if strings.HasPrefix(part.name, prefix(family)) || slices.Contains(verdicts, part.name) {
				continue
			}
			p := probe{l.Table, part.text}
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
func parts(r iptables.Rule, set string) []part {
	var out []part
	protocol := ""
	for _, o := range r.Options {
		switch o.Name {
		case "--match-set":
			o.Args = slices.Concat([]string{set}, o.Args[1:])
		case "-p":
			protocol = o.String() + " "
			continue
		case "-m", "-j", "-g":
			out = append(out, part{o.Arg(), protocol + o.String()})
			continue
		}
		if len(out) > 0 {
			out[len(out)-1].text += " " + o.String()
		}
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

// scratchName is that of the scratch chains and of the scratch set of a family. It does not
// begin as those of rules do: what a start has left that was killed is no rules of ours, by
// which the next one would take the variant of iptables for the one in use, and all else
// for proved.
func scratchName(family netip.Addr) string {
	return "PROBE-" + strings.TrimSuffix(prefix(family), "-")
}

// scratch puts rules into a scratch chain of each table that is named, and removes the
// chains again, also if ctx ends meanwhile. Nothing jumps to them.
func scratch(ctx context.Context, b netutil.Backend, family netip.Addr, rules map[string][]string) error {
	chain := scratchName(family)
	tables := slices.Sorted(maps.Keys(rules))
	var add strings.Builder
	for _, table := range tables {
		fmt.Fprintf(&add, "*%s\n:%s - [0:0]\n", table, chain)
		for _, text := range rules[table] {
			fmt.Fprintf(&add, "-A %s %s\n", chain, text)
		}
		add.WriteString("COMMIT\n")
	}
	failed := b.Restore(ctx, number(family), add.String())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreTime)
	defer cancel()
	return cmp.Or(failed, removeScratch(ctx, b, family, tables))
}

// removeScratch removes the scratch chains from tables, in their order: those behind one that
// is missing, at which the tool stops, have none.
func removeScratch(ctx context.Context, b netutil.Backend, family netip.Addr, tables []string) error {
	var remove strings.Builder
	for _, table := range tables {
		fmt.Fprintf(&remove, "*%[1]s\n:%[2]s - [0:0]\n-X %[2]s\nCOMMIT\n", table, scratchName(family))
	}
	return b.Restore(ctx, number(family), remove.String())
}

// RemoveScratch removes what starts that were killed have left of their trials, in whichever
// variant of iptables. Idempotent.
func (l *Linux) RemoveScratch(ctx context.Context) error {
	all, err := netutil.Backends(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, family := range l.families() {
		for _, b := range all {
			chains, err := b.Chains(number(family))
			var tables []string
			for _, c := range chains {
				if c.Name == scratchName(family) {
					tables = append(tables, c.Table)
				}
			}
			if len(tables) > 0 {
				err = removeScratch(ctx, b, family, tables)
			}
			errs = append(errs, err)
		}
		errs = append(errs, l.ipset.Destroy(scratchName(family)))
	}
	return errors.Join(errs...)
}
