package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
	"kube-ipvs/netutil/iptables"
	"kube-ipvs/proxier/state"
)

// extension is a match or a target that may be a module of the kernel, with rules that try
// it, one for each of its uses.
type extension struct {
	name  string
	rules []probe
}

// probe is a rule without its chain.
type probe struct{ table, text string }

// carriers are the modules with another name than xt_ and the extension's name.
var carriers = map[string]string{"MARK": "xt_mark", "DNAT": "xt_nat"}

// module returns the extension's module by a name that modprobe knows on every kernel.
func (e extension) module(family state.Family) string {
	// Since Linux 5.2 both families share xt_MASQUERADE, which has the older names as aliases.
	if e.name == "REJECT" || e.name == "MASQUERADE" {
		return [...]string{"ipt_", "ip6t_"}[family] + e.name
	}
	if name, ok := carriers[e.name]; ok {
		return name
	}
	return "xt_" + e.name
}

// verdicts are the targets that are no extensions.
var verdicts = []string{"ACCEPT", "DROP", "RETURN"}

// extensionsOf lists the extensions of iptables that rules use, with set in the place of all
// sets. It skips the nftables table, which iptables does not write.
func extensionsOf(rules string, family state.Family, set string) []extension {
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

// parts splits a rule at each -m, -j and -g. Parts behind a protocol keep it, since some
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

// scratchName returns the name of the scratch chains and of the scratch set of a family. It
// has not the prefix of kube-ipvs: if a start is killed, the next one must not take a
// scratch chain for rules of kube-ipvs, which show the variant of iptables in use and prove
// that all features work.
func scratchName(family state.Family) string {
	return "PROBE-" + strings.TrimSuffix(prefix(family), "-")
}

// scratch writes rules into a scratch chain of each named table, and removes the chains
// again, also if ctx ends meanwhile. No rule jumps to them.
func scratch(ctx context.Context, b netutil.Backend, family state.Family, rules map[string][]string) error {
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
	failed := b.Restore(ctx, family, add.String())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreTime)
	defer cancel()
	return cmp.Or(failed, removeScratch(ctx, b, family, tables))
}

// removeScratch removes the scratch chains from tables, in order. The tool stops at the
// first missing one; the tables behind it have none either.
func removeScratch(ctx context.Context, b netutil.Backend, family state.Family, tables []string) error {
	var remove strings.Builder
	for _, table := range tables {
		fmt.Fprintf(&remove, "*%[1]s\n:%[2]s - [0:0]\n-X %[2]s\nCOMMIT\n", table, scratchName(family))
	}
	return b.Restore(ctx, family, remove.String())
}

// RemoveScratch removes the scratch chains and sets of killed starts, in both variants of
// iptables. Idempotent.
func (l *Linux) RemoveScratch(ctx context.Context) error {
	all, err := netutil.Backends(ctx)
	if err != nil {
		return err
	}
	errs := []error{l.ipset.Destroy(ipset.ProbeName)}
	for _, family := range l.families() {
		for _, b := range all {
			chains, err := b.Chains(family)
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
