package netutil

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"kube-ipvs/netutil/iptables"
)

// Ruleset is what is ours of one family's rules: the chains whose name begins
// with our prefix, with their rules, the jumps to them from built-in chains, and
// where these stand among the rules of others. The zero value holds nothing.
type Ruleset struct {
	tables []table
}

type table struct {
	name   string
	chains []chain
	jumps  []rule          // in the order in which they stand
	ranks  map[string]rank // of built-in chains
}

type chain struct {
	name  string
	rules []rule
}

// rule is a rule as it was read, and in the form that is compared.
type rule struct {
	iptables.Rule
	canon string
}

// ParseRules reads text in the format of iptables-save and takes what is ours.
// The rest it ignores. A rule for a chain of ours that is not declared, a text
// that ends within a table and a line that cannot be read are errors.
func ParseRules(text, prefix string) (Ruleset, error) {
	return parseRules(text, Ours{Prefix: prefix})
}

func parseRules(text string, ours Ours) (Ruleset, error) {
	var out Ruleset
	builtin := map[Chain]bool{}
	for l, err := range iptables.Lines(text) {
		if err == nil {
			err = out.add(l, ours, builtin)
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
	r.tables = append(r.tables, table{name: name, ranks: map[string]rank{}})
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

func (t *table) find(name string) *chain {
	for i := range t.chains {
		if t.chains[i].name == name {
			return &t.chains[i]
		}
	}
	return nil
}

// add takes in a line. In a text of ours, built-in chains need not be declared: a
// chain that is not known is taken for one.
func (r *Ruleset) add(l iptables.Line, ours Ours, builtin map[Chain]bool) error {
	if l.Table == "" {
		return fmt.Errorf("%s stands outside of a table", l.Chain)
	}
	t, own, in := r.table(l.Table), ours.own(l.Chain), Chain{l.Table, l.Chain}
	if l.Policy != "" {
		if builtin[in] = l.Policy != "-"; own && t.find(l.Chain) == nil {
			t.chains = append(t.chains, chain{name: l.Chain})
		}
		return nil
	}
	if known, declared := builtin[in]; !own && declared && !known {
		return nil
	}
	parsed, err := iptables.Parse(l.Chain, l.Rule)
	if target := parsed.Target(); !own && !ours.own(target) {
		known, declared := builtin[Chain{l.Table, target}]
		t.other(l.Chain, target, declared && !known, ours)
		return nil
	}
	if err == nil {
		err = t.addOwn(parsed, ours)
	}
	if err != nil {
		err = fmt.Errorf("rule %s: %w", parsed, err)
	}
	return err
}

// addOwn adds a rule to a chain of ours, or a jump to one.
func (t *table) addOwn(parsed iptables.Rule, ours Ours) error {
	canon, err := parsed.Canonical()
	if err != nil {
		return err
	}
	name, own := parsed.Chain, rule{parsed, canon}
	if !ours.own(name) {
		k := t.rank(name, ours)
		k.own()
		t.jumps, t.ranks[name] = append(t.jumps, own), k
		return nil
	}
	c := t.find(name)
	if c == nil {
		return fmt.Errorf("chain %s is not declared", name)
	}
	c.rules = append(c.rules, own)
	return nil
}

// other takes in a rule of others in a built-in chain, that leads to a target.
func (t *table) other(name, target string, isChain bool, ours Ours) {
	k := t.rank(name, ours)
	if isChain {
		k.other(ours, target, "")
	} else {
		k.other(ours, "", target)
	}
	t.ranks[name] = k
}

// rank returns what is known of where our jumps stand in a built-in chain.
func (t *table) rank(name string, ours Ours) rank {
	if k, ok := t.ranks[name]; ok {
		return k
	}
	return rank{place: ours.Places[Chain{t.name, name}]}
}

// missing returns those of want that have lacks, each as often as it does.
func missing(have, want []rule) []rule {
	left := map[[2]string]int{}
	for _, r := range have {
		left[[2]string{r.Chain, r.canon}]++
	}
	var out []rule
	for _, r := range want {
		k := [2]string{r.Chain, r.canon}
		if left[k]--; left[k] < 0 {
			out = append(out, r)
		}
	}
	return out
}

// same reports whether two chains hold the same rules in the same order.
func (c chain) same(d chain) bool { return sameRules(c.rules, d.rules) }

func sameRules(a, b []rule) bool {
	return slices.EqualFunc(a, b, func(a, b rule) bool { return a.canon == b.canon })
}

// chainsOfJumps lists the chains in which tables have jumps.
func chainsOfJumps(tables ...table) []string {
	var out []string
	for _, t := range tables {
		for _, r := range t.jumps {
			if !slices.Contains(out, r.Chain) {
				out = append(out, r.Chain)
			}
		}
	}
	return out
}

// jumpsFrom returns the jumps of one chain, in their order.
func jumpsFrom(t table, chain string) []rule {
	return slices.DeleteFunc(slices.Clone(t.jumps), func(r rule) bool { return r.Chain != chain })
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

// Equal reports whether have holds the rules of want, and our jumps stand where they are to.
// See the package's canonical form for the differences in spelling that do not count.
func Equal(have, want Ruleset) bool { return RestoreInput(want, have) == "" }

// Misplaced says of each built-in chain in which our jumps do not stand where they are
// to what is in the way, as "TABLE CHAIN: ...".
func (r Ruleset) Misplaced() []string {
	var out []string
	for _, t := range r.tables {
		for _, c := range chainsOfJumps(t) {
			if wrong := t.ranks[c].wrong; wrong != "" {
				out = append(out, t.name+" "+c+": "+wrong)
			}
		}
	}
	return out
}

// Tolerated returns r as if its jumps stood where they are to.
func (r Ruleset) Tolerated() Ruleset {
	out := Ruleset{slices.Clone(r.tables)}
	for i := range out.tables {
		t := &out.tables[i]
		t.ranks = maps.Clone(t.ranks)
		for c, k := range t.ranks {
			k.wrong = ""
			t.ranks[c] = k
		}
	}
	return out
}

// Missing describes how have differs from want, one line each, for people:
// "+ nat -A PREROUTING ..." lacks, "- nat -A PREROUTING ..." is too much. It is
// empty when they are Equal.
func Missing(have, want Ruleset) []string {
	var out []string
	say := func(sign, table string, rules []rule) {
		for _, r := range rules {
			out = append(out, sign+" "+table+" "+r.String())
		}
	}
	for _, name := range names(want, have) {
		w, h := want.get(name), have.get(name)
		say("+", name, missing(h.jumps, w.jumps))
		say("-", name, missing(w.jumps, h.jumps))
		for _, c := range chainsOfJumps(w, h) {
			if wrong := h.ranks[c].wrong; wrong != "" {
				out = append(out, "! "+name+" "+c+": "+wrong)
			} else if got, want := jumpsFrom(h, c), jumpsFrom(w, c); !sameRules(got, want) && len(missing(got, want))+len(missing(want, got)) == 0 {
				out = append(out, "! "+name+" "+c+": the jumps are in another order")
			}
		}
		for _, c := range w.chains {
			got := h.find(c.name)
			if got == nil {
				out = append(out, "+ "+name+" :"+c.name)
				got = &chain{}
			}
			lack, extra := missing(got.rules, c.rules), missing(c.rules, got.rules)
			say("+", name, lack)
			say("-", name, extra)
			if len(lack)+len(extra) == 0 && !c.same(*got) {
				out = append(out, "! "+name+" :"+c.name+" is in another order")
			}
		}
		for _, c := range h.chains {
			if w.find(c.name) == nil {
				out = append(out, "- "+name+" :"+c.name)
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
		for _, c := range w.chains {
			if got := h.find(c.name); got != nil && c.same(*got) {
				continue
			}
			fmt.Fprintf(&declare, ":%s - [0:0]\n", c.name)
			for _, r := range c.rules {
				fmt.Fprintln(&fill, r)
			}
		}
		for _, c := range h.chains {
			if w.find(c.name) == nil {
				fmt.Fprintf(&declare, ":%s - [0:0]\n", c.name)
				fmt.Fprintf(&drop, "-X %s\n", c.name)
			}
		}
		for _, c := range chainsOfJumps(w, h) {
			putJumps(&fill, jumpsFrom(w, c), jumpsFrom(h, c), h.ranks[c])
		}
		if body := declare.String() + fill.String() + drop.String(); body != "" {
			fmt.Fprintf(&out, "*%s\n%sCOMMIT\n", name, body)
		}
	}
	return out.String()
}

// putJumps replaces the jumps of a built-in chain, which stand as k says.
func putJumps(out *strings.Builder, want, have []rule, k rank) {
	if sameRules(want, have) && k.wrong == "" {
		return
	}
	for _, r := range have {
		fmt.Fprintf(out, "-D %s %s\n", r.Chain, r.Text)
	}
	for i, r := range want {
		fmt.Fprintf(out, "-I %s %d %s\n", r.Chain, k.behind+i+1, r.Text)
	}
}

// String spells the rules as iptables-save does, with the words that it uses.
func (r Ruleset) String() string {
	var out strings.Builder
	for _, t := range r.tables {
		if len(t.chains)+len(t.jumps) == 0 {
			continue
		}
		fmt.Fprintf(&out, "*%s\n", t.name)
		for _, c := range t.chains {
			fmt.Fprintf(&out, ":%s - [0:0]\n", c.name)
		}
		for _, r := range t.jumps {
			fmt.Fprintln(&out, r)
		}
		for _, c := range t.chains {
			for _, r := range c.rules {
				fmt.Fprintln(&out, r)
			}
		}
		out.WriteString("COMMIT\n")
	}
	return out.String()
}
