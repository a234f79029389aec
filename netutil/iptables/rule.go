// Package iptables parses, prints and compares rules of iptables as text. It runs no program
// and asks no kernel.
package iptables

import (
	"errors"
	"slices"
	"strings"
)

// Rule is one rule of a chain: its matches and its target.
type Rule struct {
	Chain   string   // the rule's chain
	Text    string   // the text behind "-A CHAIN", as iptables spells it
	Options []Option // the options of Text, in order
}

// Option is an option with its arguments.
type Option struct {
	Not  bool   // "!" stands in front
	Name string // the short one, such as -j, where there are two
	Args []string
}

// Arg returns all arguments.
func (o Option) Arg() string { return strings.Join(o.Args, " ") }

// String returns the option as it stands in a rule; quotes are not put around words.
func (o Option) String() string {
	text := o.Name + " " + o.Arg()
	if o.Not {
		text = "! " + text
	}
	return strings.TrimSuffix(text, " ")
}

// String returns the rule as iptables-save prints it.
func (r Rule) String() string { return "-A " + r.Chain + " " + r.Text }

// Option returns the first option that has one of some names; none: the zero Option.
func (r Rule) Option(names ...string) Option {
	for _, o := range r.Options {
		if slices.Contains(names, o.Name) {
			return o
		}
	}
	return Option{}
}

// Target returns the chain or target that the rule leads to, or "".
func (r Rule) Target() string { return r.Option("-j", "-g").Arg() }

var shortNames = map[string]string{
	"--jump": "-j", "--goto": "-g", "--match": "-m", "--protocol": "-p", "--proto": "-p",
	"--source": "-s", "--src": "-s", "--destination": "-d", "--dst": "-d",
	"--in-interface": "-i", "--out-interface": "-o",
	"--source-port": "--sport", "--destination-port": "--dport",
}

// Parse parses a rule with any matches and targets. The error says that a quote is not closed;
// then the rule has no options.
func Parse(chain, text string) (Rule, error) {
	words, err := split(text)
	r := Rule{Chain: chain, Text: text, Options: make([]Option, 0, len(words)/2)}
	for len(words) > 0 {
		var o Option
		if words[0] == "!" && len(words) > 1 {
			o.Not, words = true, words[1:]
		}
		o.Name = words[0]
		if short, ok := shortNames[o.Name]; ok {
			o.Name = short
		}
		n := 1 // arguments go on until the next option
		for n < len(words) && !strings.HasPrefix(words[n], "-") && words[n] != "!" {
			n++
		}
		if o.Name == "--comment" {
			n = min(2, len(words)) // its text may look like an option
		}
		o.Args, words = words[1:n], words[n:]
		r.Options = append(r.Options, o)
	}
	return r, err
}

// split cuts text at blanks. Double quotes hold a word together, a backslash
// takes the next character as it is.
func split(text string) ([]string, error) {
	if !strings.Contains(text, `"`) {
		return strings.Fields(text), nil
	}
	var words []string
	var word strings.Builder
	begun, quoted := false, false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '"':
			quoted, begun = !quoted, true
		case c == '\\' && quoted && i+1 < len(text):
			i++
			word.WriteByte(text[i])
		case (c == ' ' || c == '\t') && !quoted:
			if begun {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if quoted {
		return nil, errors.New("a quote is not closed")
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}
