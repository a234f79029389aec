package netutil

import (
	"fmt"
	"maps"
	"slices"
	"strings"
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

// rule is a line "-A CHAIN ..." as read, and in the form that is compared.
type rule struct {
	chain string
	text  string // without "-A CHAIN"
	canon string
}

// ParseRules reads text in the format of iptables-save and takes what is ours.
// The rest it ignores. A rule for a chain of ours that is not declared, a text
// that ends within a table and a line that cannot be read are errors.
func ParseRules(text, prefix string) (Ruleset, error) {
	return parseRules(text, Ours{Prefix: prefix})
}

func parseRules(text string, ours Ours) (Ruleset, error) {
	prefix := ours.Prefix
	var out Ruleset
	var in *table
	builtin := map[string]bool{}
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		var err error
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '*':
			if in != nil {
				err = fmt.Errorf("table %s has no COMMIT", in.name)
			}
			in, builtin = out.table(line[1:]), map[string]bool{}
		case in == nil:
			err = fmt.Errorf("outside of a table")
		case line == "COMMIT":
			in = nil
		case line[0] == ':':
			name, policy, _ := strings.Cut(line[1:], " ")
			builtin[name] = !strings.HasPrefix(policy, "-")
			if strings.HasPrefix(name, prefix) && in.find(name) == nil {
				in.chains = append(in.chains, chain{name: name})
			}
		default:
			err = in.add(line, ours, builtin)
		}
		if err != nil {
			return Ruleset{}, fmt.Errorf("line %d: %q: %w", n+1, line, err)
		}
	}
	if in != nil {
		return Ruleset{}, fmt.Errorf("table %s has no COMMIT", in.name)
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

// add reads a rule. In a text of ours, built-in chains need not be declared:
// a chain that is not known is taken for one.
func (t *table) add(line string, ours Ours, builtin map[string]bool) error {
	if line[0] == '[' { // counters
		_, line, _ = strings.Cut(line, " ")
	}
	line, ok := strings.CutPrefix(line, "-A ")
	if !ok {
		return fmt.Errorf("not a rule")
	}
	name, text, _ := strings.Cut(line, " ")
	own := ours.own(name)
	if known, declared := builtin[name]; !own && declared && !known {
		return nil
	}
	if !own && !strings.Contains(text, "-j "+ours.Prefix) && !strings.Contains(text, "-g "+ours.Prefix) {
		t.other(name, text, ours, builtin)
		return nil
	}
	canon, target, err := canonical(text)
	if err != nil {
		return err
	}
	r := rule{name, text, canon}
	if !own {
		if !ours.own(target) {
			t.other(name, text, ours, builtin)
			return nil
		}
		k := t.rank(name, ours)
		k.own()
		t.jumps, t.ranks[name] = append(t.jumps, r), k
		return nil
	}
	c := t.find(name)
	if c == nil {
		return fmt.Errorf("chain %s is not declared", name)
	}
	c.rules = append(c.rules, r)
	return nil
}

// other takes in a rule of others in a built-in chain.
func (t *table) other(name, text string, ours Ours, builtin map[string]bool) {
	k, target := t.rank(name, ours), jumpTarget(text)
	if known, declared := builtin[target]; declared && !known {
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
		left[[2]string{r.chain, r.canon}]++
	}
	var out []rule
	for _, r := range want {
		k := [2]string{r.chain, r.canon}
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
			if !slices.Contains(out, r.chain) {
				out = append(out, r.chain)
			}
		}
	}
	return out
}

// jumpsFrom returns the jumps of one chain, in their order.
func jumpsFrom(t table, chain string) []rule {
	return slices.DeleteFunc(slices.Clone(t.jumps), func(r rule) bool { return r.chain != chain })
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
			out = append(out, sign+" "+table+" -A "+r.chain+" "+r.text)
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
				fmt.Fprintf(&fill, "-A %s %s\n", r.chain, r.text)
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
		fmt.Fprintf(out, "-D %s %s\n", r.chain, r.text)
	}
	for i, r := range want {
		fmt.Fprintf(out, "-I %s %d %s\n", r.chain, k.behind+i+1, r.text)
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
			fmt.Fprintf(&out, "-A %s %s\n", r.chain, r.text)
		}
		for _, c := range t.chains {
			for _, r := range c.rules {
				fmt.Fprintf(&out, "-A %s %s\n", r.chain, r.text)
			}
		}
		out.WriteString("COMMIT\n")
	}
	return out.String()
}
