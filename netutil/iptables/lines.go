package iptables

import (
	"errors"
	"fmt"
	"iter"
	"strings"
)

// Line is one line in the format of iptables-save: a chain of a table, or a rule of a chain.
type Line struct {
	Table, Chain string
	Policy       string // of a built-in chain; "-" of a user-defined one; empty: the line is a rule
	Rule         string // behind "-A CHAIN"
}

// Lines yields the chains and rules of a text in the format of iptables-save, in order. A line
// outside of a table has no Table. It yields an error for a malformed line and for a table
// without COMMIT, and goes on.
func Lines(text string) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		table, n := "", 0
		for line := range strings.Lines(text) {
			n++
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			l, err := Line{Table: table}, error(nil)
			switch {
			case line[0] == '*':
				if table != "" {
					err = fmt.Errorf("table %s has no COMMIT", table)
				}
				table = line[1:]
			case line == "COMMIT":
				table = ""
			case line[0] == ':':
				words := strings.Fields(line[1:])
				if len(words) < 2 {
					err = errors.New("a chain without a policy")
				} else {
					l.Chain, l.Policy = words[0], words[1]
				}
			default:
				l.Chain, l.Rule, err = cutRule(line)
			}
			if err != nil {
				err = fmt.Errorf("line %d: %q: %w", n, line, err)
			}
			if (err != nil || l.Chain != "") && !yield(l, err) {
				return
			}
		}
		if table != "" {
			yield(Line{}, fmt.Errorf("table %s has no COMMIT", table))
		}
	}
}

// cutRule takes the chain off a line "-A CHAIN ...", before which counters may stand.
func cutRule(line string) (chain, rule string, err error) {
	if line[0] == '[' {
		_, line, _ = strings.Cut(line, " ")
	}
	line, ok := strings.CutPrefix(line, "-A ")
	if !ok {
		return "", "", errors.New("not a rule")
	}
	chain, rule, _ = strings.Cut(line, " ")
	return chain, rule, nil
}
