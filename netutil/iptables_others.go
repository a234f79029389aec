package netutil

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Saved returns what iptables-save prints for family, 4 or 6: everybody's
// rules. It is empty where the host lacks this variant's tools for the family
// or its kernel part. It changes nothing.
func (b Backend) Saved(ctx context.Context, family int) (string, error) {
	text, err := b.save(ctx, family)
	if errors.Is(err, errAbsent) {
		return "", nil
	}
	return text, err
}

// Chain names a chain of one table.
type Chain struct{ Table, Name string }

// Chains lists the user-defined chains in text, which is in the format of
// iptables-save.
func Chains(text string) []Chain {
	var out []Chain
	for _, t := range parseTables(text) {
		for _, name := range t.users {
			out = append(out, Chain{t.name, name})
		}
	}
	return out
}

// RemoveChainsInput returns the input for Restore that removes from what text,
// in the format of iptables-save, shows those user-defined chains that are
// meant, and the jumps to them from built-in chains; and how many chains these
// are. One that a user-defined chain of others jumps to stays as it is, and so
// do those that it needs. The input is empty if there is nothing to remove.
func RemoveChainsInput(text string, meant func(Chain) bool) (input string, removed int) {
	var out strings.Builder
	for _, t := range parseTables(text) {
		gone := t.removable(meant)
		if len(gone) == 0 {
			continue
		}
		removed += len(gone)
		var empty, drop strings.Builder
		for _, name := range t.users {
			if gone[name] {
				fmt.Fprintf(&empty, ":%s - [0:0]\n", name)
				fmt.Fprintf(&drop, "-X %s\n", name)
			}
		}
		fmt.Fprintf(&out, "*%s\n%s", t.name, empty.String())
		for _, r := range t.rules {
			if gone[r.target] && !t.isUser[r.chain] {
				fmt.Fprintf(&out, "-D %s %s\n", r.chain, r.text)
			}
		}
		fmt.Fprintf(&out, "%sCOMMIT\n", drop.String())
	}
	return out.String(), removed
}

// savedTable is a table of everybody's rules.
type savedTable struct {
	name   string
	users  []string // user-defined chains
	isUser map[string]bool
	rules  []savedRule // those with a target
}

type savedRule struct{ chain, text, target string }

// removable returns the chains that are meant and that nobody else needs.
func (t savedTable) removable(meant func(Chain) bool) map[string]bool {
	want := map[string]bool{}
	for _, name := range t.users {
		if meant(Chain{t.name, name}) {
			want[name] = true
		}
	}
	for again := true; again; {
		again = false
		for _, r := range t.rules {
			if want[r.target] && !want[r.chain] && t.isUser[r.chain] {
				delete(want, r.target)
				again = true
			}
		}
	}
	return want
}

// parseTables reads text. What it does not understand it leaves out: others
// may use matches that nobody here knows.
func parseTables(text string) []savedTable {
	var out []savedTable
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line == "COMMIT":
		case line[0] == '*':
			out = append(out, savedTable{name: line[1:], isUser: map[string]bool{}})
		case len(out) == 0:
		case line[0] == ':':
			if name, policy, _ := strings.Cut(line[1:], " "); strings.HasPrefix(policy, "-") {
				t := &out[len(out)-1]
				t.users, t.isUser[name] = append(t.users, name), true
			}
		case strings.HasPrefix(line, "-A "):
			chain, rule, _ := strings.Cut(line[len("-A "):], " ")
			if target := jumpTarget(rule); target != "" {
				t := &out[len(out)-1]
				t.rules = append(t.rules, savedRule{chain, rule, target})
			}
		}
	}
	return out
}

// jumpTarget returns where a rule jumps or goes to, or "".
func jumpTarget(rule string) string {
	words, err := split(rule)
	if err != nil {
		return ""
	}
	for i := 0; i+1 < len(words); i++ {
		switch words[i] {
		case "--comment":
			i++ // its text may look like an option
		case "-j", "-g", "--jump", "--goto":
			return words[i+1]
		}
	}
	return ""
}
