package explain

import (
	"slices"
	"strings"
)

// ruleset is the rules of a family: by table and chain, in order.
type ruleset map[string]map[string][]rule

// rule is one rule, taken apart as far as this package can judge it.
type rule struct {
	text  string // without "-A CHAIN"
	tests []test
	verb  string // its target, such as DROP or a chain
	into  bool   // -g: the chain's end is the end of this chain, too
	arg   string // of NETMAP, DNAT and MARK
	why   string // why it cannot be judged; empty: it can
}

// test is a match of a rule.
type test struct {
	not  bool
	kind string // the option that decides, such as --match-set or -s
	args []string
}

// parse reads what iptables-save prints. Lines that are no rules it ignores.
func parse(text string) ruleset {
	out := ruleset{}
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "*"); ok {
			table = name
			out[table] = map[string][]rule{}
		}
		if body, ok := strings.CutPrefix(line, "-A "); ok && table != "" {
			chain, body, _ := strings.Cut(body, " ")
			out[table][chain] = append(out[table][chain], parseRule(body))
		}
	}
	return out
}

func parseRule(text string) rule {
	r := rule{text: text}
	words := strings.Fields(text)
	for len(words) > 0 {
		words = r.option(words)
	}
	if r.verb == "" {
		r.why = "it has no target"
	}
	return r
}

// option takes one option with its arguments off words.
func (r *rule) option(words []string) []string {
	not := false
	if words[0] == "!" && len(words) > 1 {
		not, words = true, words[1:]
	}
	name, n := words[0], 1
	for n < len(words) && !strings.HasPrefix(words[n], "-") && words[n] != "!" {
		n++
	}
	args := words[1:n]
	first := ""
	if len(args) > 0 {
		first = args[0]
	}
	switch name {
	case "-m", "--random-fully", "--reject-with", "--comment", "--update-counters": // they decide nothing
	case "-j", "-g":
		r.verb, r.into = first, name == "-g"
	case "--to", "--to-destination", "--set-xmark":
		r.arg = first
	case "-s", "-d", "-i", "-p", "--match-set", "--src-type", "--dst-type", "--ctstate", "--ctstatus", "--ctdir", "--mark":
		r.tests = append(r.tests, test{not, name, slices.Clone(args)})
	default:
		r.why = "nothing here knows " + name
	}
	return words[n:]
}
