package netutil

import (
	"fmt"
	"slices"
	"strings"

	"kube-ipvs/netutil/iptables"
)

// Ruleset has our rules of one family: the chains with our prefix and their rules, the jumps
// to them from built-in chains, and the places of these jumps among the rules of other
// programs. The zero value is empty.
type Ruleset struct {
	tables []table
}

type table struct {
	name    string
	own     []chain
	builtin []chain // those of interest, with our jumps
}

type chain struct {
	name  string
	rules []rule
	rank  rank // of a built-in one: where the jumps stand in it
}

// rule is a rule as it was read, and in the form that is compared.
type rule struct {
	iptables.Rule
	canon string
}

// ParseRules parses text in the format of iptables-save and takes our rules; it ignores all
// others. A rule of our chain that is not declared, a table without COMMIT and a malformed
// line are errors.
func ParseRules(text, prefix string) (Ruleset, error) {
	return parseRules(text, Ours{Prefix: prefix})
}

func parseRules(text string, ours Ours) (Ruleset, error) {
	var out Ruleset
	declared := map[Chain]bool{}
	for l, err := range iptables.Lines(text) {
		if err == nil {
			err = out.add(l, ours, declared)
		}
		if err != nil {
			return Ruleset{}, err
		}
	}
	return out, nil
}

// table returns the table called name, which it adds if need be. The pointer
// is good until the next call.
func (r *Ruleset) table(name string) *table {
	for i := range r.tables {
		if r.tables[i].name == name {
			return &r.tables[i]
		}
	}
	r.tables = append(r.tables, table{name: name})
	return &r.tables[len(r.tables)-1]
}

// get returns the table called name, empty if there is none.
func (r Ruleset) get(name string) table {
	for _, t := range r.tables {
		if t.name == name {
			return t
		}
	}
	return table{name: name}
}

// find returns the chain called name, or nil.
func find(chains []chain, name string) *chain {
	for i := range chains {
		if chains[i].name == name {
			return &chains[i]
		}
	}
	return nil
}

// get returns the chain called name, empty if there is none.
func get(chains []chain, name string) chain {
	if c := find(chains, name); c != nil {
		return *c
	}
	return chain{name: name}
}

// hook returns a built-in chain of the table, which it adds if need be.
func (t *table) hook(name string, ours Ours) *chain {
	if find(t.builtin, name) == nil {
		t.builtin = append(t.builtin, chain{name: name, rank: rank{place: ours.Places[Chain{t.name, name}]}})
	}
	return find(t.builtin, name)
}

// add takes in a line; declared are the chains that came before, with whether they are
// user-defined. In a text of ours, built-in chains need not be declared: a chain that is
// not known is taken for one.
func (r *Ruleset) add(l iptables.Line, ours Ours, declared map[Chain]bool) error {
	if l.Table == "" {
		return fmt.Errorf("%s stands outside of a table", l.Chain)
	}
	t, own, in := r.table(l.Table), ours.own(l.Chain), Chain{l.Table, l.Chain}
	if l.Policy != "" {
		if declared[in] = l.Policy == "-"; own && find(t.own, l.Chain) == nil {
			t.own = append(t.own, chain{name: l.Chain})
		}
		return nil
	}
	c := find(t.own, l.Chain)
	switch {
	case own && c == nil:
		return fmt.Errorf("chain %s is not declared", l.Chain)
	case !own && declared[in]: // one of others
		return nil
	case !own:
		c = t.hook(l.Chain, ours)
	}
	parsed, err := iptables.Parse(l.Chain, l.Rule)
	switch target := parsed.Target(); {
	case own || ours.own(target):
	case declared[Chain{l.Table, target}]:
		c.rank.other(ours, target, "")
		return nil
	default:
		c.rank.other(ours, "", target)
		return nil
	}
	canon := ""
	if err == nil {
		canon, err = parsed.Canonical()
	}
	if err != nil {
		return fmt.Errorf("rule %s: %w", parsed, err)
	}
	c.rank.own()
	c.rules = append(c.rules, rule{parsed, canon})
	return nil
}

// missing returns the rules of want that have lacks, each as often as it lacks it.
func missing(have, want []rule) []rule {
	left := map[string]int{}
	for _, r := range have {
		left[r.canon]++
	}
	var out []rule
	for _, r := range want {
		if left[r.canon]--; left[r.canon] < 0 {
			out = append(out, r)
		}
	}
	return out
}

// same reports whether two chains hold the same rules in the same order.
func (c chain) same(d chain) bool {
	return slices.EqualFunc(c.rules, d.rules, func(a, b rule) bool { return a.canon == b.canon })
}

// union lists the names of chains of a and of those of b that are not in a.
func union(a, b []chain) []string {
	var out []string
	for _, c := range slices.Concat(a, b) {
		if !slices.Contains(out, c.name) {
			out = append(out, c.name)
		}
	}
	return out
}

// names lists the tables of a and b.
func names(a, b Ruleset) []string {
	var out []string
	for _, t := range slices.Concat(a.tables, b.tables) {
		if !slices.Contains(out, t.name) {
			out = append(out, t.name)
		}
	}
	return out
}

// Equal reports whether have has the rules of want, and our jumps stand in their places. It
// ignores differences in spelling, see iptables.Rule.Canonical.
func Equal(have, want Ruleset) bool { return RestoreInput(want, have) == "" }

// Misplaced returns, for each built-in chain with misplaced jumps of ours, the rule in the way,
// as "TABLE CHAIN: ...".
func (r Ruleset) Misplaced() []string {
	var out []string
	for _, t := range r.tables {
		for _, c := range t.builtin {
			if c.rank.wrong != "" {
				out = append(out, t.name+" "+c.name+": "+c.rank.wrong)
			}
		}
	}
	return out
}

// Tolerated returns r as if its jumps stood in their places.
func (r Ruleset) Tolerated() Ruleset {
	out := Ruleset{slices.Clone(r.tables)}
	for i := range out.tables {
		t := &out.tables[i]
		t.builtin = slices.Clone(t.builtin)
		for k := range t.builtin {
			t.builtin[k].rank.wrong = ""
		}
	}
	return out
}

// Missing returns the differences of have from want, one a line: "+ nat -A PREROUTING ..." is
// missing, "- nat -A PREROUTING ..." is one too many, "! ..." is in another place or order. It
// returns none if they are Equal.
func Missing(have, want Ruleset) []string {
	var out []string
	say := func(sign, table, text string) { out = append(out, sign+" "+table+" "+text) }
	rules := func(table string, have, want chain) (differ bool) {
		lack, extra := missing(have.rules, want.rules), missing(want.rules, have.rules)
		for _, r := range lack {
			say("+", table, r.String())
		}
		for _, r := range extra {
			say("-", table, r.String())
		}
		return len(lack)+len(extra) > 0
	}
	for _, name := range names(want, have) {
		w, h := want.get(name), have.get(name)
		for _, c := range union(w.builtin, h.builtin) {
			got, want := get(h.builtin, c), get(w.builtin, c)
			differ := rules(name, got, want)
			if got.rank.wrong != "" {
				say("!", name, c+": "+got.rank.wrong)
			} else if !differ && !got.same(want) {
				say("!", name, c+": the jumps are in another order")
			}
		}
		for _, c := range union(w.own, h.own) {
			got, want := find(h.own, c), find(w.own, c)
			if want == nil {
				say("-", name, ":"+c)
				continue
			}
			if got == nil {
				say("+", name, ":"+c)
				got = &chain{}
			}
			if !rules(name, *got, *want) && !got.same(*want) {
				say("!", name, ":"+c+" is in another order")
			}
		}
	}
	return out
}

// RestoreInput returns the input for Restore that turns have into want, empty
// when they are equal. Only chains that differ are refilled. Where the jumps of a
// built-in chain differ, or do not stand where they are to, all of them are put there
// anew, in their order.
func RestoreInput(want, have Ruleset) string {
	var out strings.Builder
	for _, name := range names(want, have) {
		w, h := want.get(name), have.get(name)
		var declare, fill, drop strings.Builder
		for _, c := range w.own {
			if got := find(h.own, c.name); got != nil && c.same(*got) {
				continue
			}
			fmt.Fprintf(&declare, ":%s - [0:0]\n", c.name)
			for _, r := range c.rules {
				fmt.Fprintln(&fill, r)
			}
		}
		for _, c := range h.own {
			if find(w.own, c.name) == nil {
				fmt.Fprintf(&declare, ":%s - [0:0]\n", c.name)
				fmt.Fprintf(&drop, "-X %s\n", c.name)
			}
		}
		for _, c := range union(w.builtin, h.builtin) {
			putJumps(&fill, get(w.builtin, c), get(h.builtin, c))
		}
		if body := declare.String() + fill.String() + drop.String(); body != "" {
			fmt.Fprintf(&out, "*%s\n%sCOMMIT\n", name, body)
		}
	}
	return out.String()
}

// putJumps replaces the jumps of a built-in chain.
func putJumps(out *strings.Builder, want, have chain) {
	if want.same(have) && have.rank.wrong == "" {
		return
	}
	for _, r := range have.rules {
		fmt.Fprintf(out, "-D %s %s\n", r.Chain, r.Text)
	}
	for i, r := range want.rules {
		fmt.Fprintf(out, "-I %s %d %s\n", r.Chain, have.rank.behind+i+1, r.Text)
	}
}

// String spells the rules as iptables-save does, with the words that it uses.
func (r Ruleset) String() string {
	var out strings.Builder
	for _, t := range r.tables {
		var body strings.Builder
		for _, c := range t.own {
			fmt.Fprintf(&body, ":%s - [0:0]\n", c.name)
		}
		for _, c := range slices.Concat(t.builtin, t.own) {
			for _, r := range c.rules {
				fmt.Fprintln(&body, r)
			}
		}
		if body.Len() > 0 {
			fmt.Fprintf(&out, "*%s\n%sCOMMIT\n", t.name, body.String())
		}
	}
	return out.String()
}
