package netutil

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// canonical returns a rule in the form in which two spellings of it are equal,
// and the chain or target it jumps to. The form is for comparison only. These
// do not count:
//
//   - quotes around words that need none, and long names of options
//   - the order of matches, of options in a match, and of connection states
//   - "-m tcp", udp, sctp, icmp or icmp6 beside the -p that implies it
//   - protocols by number
//   - "/32" and "/128", spellings of an address, and 0.0.0.0/0 or ::/0
//   - --set-mark, --or-mark, --and-mark and --xor-mark, which are shown as
//     --set-xmark; the base of numbers; a mask of all ones
//   - REJECT's default, which is always shown
func canonical(text string) (canon, target string, err error) {
	words, err := split(text)
	if err != nil {
		return "", "", err
	}
	var p ruleParts
	for len(words) > 0 {
		if words, err = p.option(words); err != nil {
			return "", "", err
		}
	}
	return p.String(), p.target, nil
}

// split cuts text at blanks. Double quotes hold a word together, a backslash
// takes the next character as it is.
func split(text string) ([]string, error) {
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

// ruleParts is a rule taken apart.
type ruleParts struct {
	basic  []string   // -s, -d, -i, -o, -p
	match  []ruleOpts // one a -m
	jump   ruleOpts   // -j or -g and the target's options
	target string
	into   *[]string // where the next option goes
}

type ruleOpts struct {
	name    string
	options []string
}

var longNames = map[string]string{
	"--jump": "-j", "--goto": "-g", "--match": "-m", "--protocol": "-p", "--proto": "-p",
	"--source": "-s", "--src": "-s", "--destination": "-d", "--dst": "-d",
	"--in-interface": "-i", "--out-interface": "-o",
	"--source-port": "--sport", "--destination-port": "--dport",
}

// option takes one option with its arguments off words.
func (p *ruleParts) option(words []string) ([]string, error) {
	not := ""
	if words[0] == "!" && len(words) > 1 {
		not, words = "! ", words[1:]
	}
	name := words[0]
	if short, ok := longNames[name]; ok {
		name = short
	}
	if !strings.HasPrefix(name, "-") {
		return nil, fmt.Errorf("%q is not an option", name)
	}
	n := 1 // arguments go on until the next option, but a lone "-" or "!" may be one
	for n < len(words) && !strings.HasPrefix(words[n], "-") && words[n] != "!" {
		n++
	}
	if name == "--comment" {
		n = min(2, len(words)) // its text may look like an option
	}
	args, rest := words[1:n], words[n:]
	if len(name) == 2 && len(args) != 1 && name != "-f" {
		return nil, fmt.Errorf("%s takes one argument", name)
	}
	switch name {
	case "-m":
		p.open(args[0])
	case "-j", "-g":
		p.target = args[0]
		p.jump = ruleOpts{name: name + " " + args[0]}
		p.into = &p.jump.options
	case "-p":
		proto := protocolName(args[0])
		p.basic = append(p.basic, not+"-p "+proto)
		p.open(matchOf(proto)) // its options may follow without a -m
	case "-s", "-d":
		if a := plainAddress(args[0]); a != "" || not != "" {
			p.basic = append(p.basic, not+name+" "+a)
		}
	case "-i", "-o", "-f":
		p.basic = append(p.basic, not+name+" "+strings.Join(args, " "))
	default:
		if p.into == nil {
			return nil, fmt.Errorf("%s belongs to no match", name)
		}
		if o := p.value(name, args); o != "" {
			*p.into = append(*p.into, not+o)
		}
	}
	return rest, nil
}

// open makes name the match that options belong to. A protocol's match is one
// however often it is named; of others there may be several.
func (p *ruleParts) open(name string) {
	for i, m := range p.match {
		if m.name == name && implied(name) {
			p.into = &p.match[i].options
			return
		}
	}
	p.match = append(p.match, ruleOpts{name: name})
	p.into = &p.match[len(p.match)-1].options
}

// implied reports whether a match without options says nothing beside its -p.
func implied(match string) bool {
	switch match {
	case "tcp", "udp", "sctp", "icmp", "icmp6":
		return true
	}
	return false
}

// String joins the parts in a fixed order.
func (p *ruleParts) String() string {
	slices.Sort(p.basic)
	all := p.basic
	var matches []string
	for _, m := range p.match {
		if len(m.options) > 0 || !implied(m.name) && m.name != "all" {
			matches = append(matches, "-m "+m.String())
		}
	}
	slices.Sort(matches)
	all = append(all, matches...)
	return strings.Join(append(all, p.jump.String()), " ")
}

func (o ruleOpts) String() string {
	slices.Sort(o.options)
	return strings.Join(append([]string{o.name}, o.options...), " ")
}

// value returns an option with its arguments in their one spelling, empty if
// it says nothing.
func (p *ruleParts) value(name string, args []string) string {
	arg := strings.Join(args, " ")
	switch name {
	case "--ctstate", "--state", "--ctstatus":
		states := strings.Split(arg, ",")
		slices.Sort(states)
		return name + " " + strings.Join(states, ",")
	case "--reject-with":
		if arg == "icmp-port-unreachable" || arg == "icmp6-port-unreachable" {
			return ""
		}
	case "--mark", "--set-mark", "--set-xmark", "--or-mark", "--and-mark", "--xor-mark":
		return markOption(name, arg)
	case "--comment":
		return name + " " + strconv.Quote(arg)
	}
	return strings.TrimSuffix(name+" "+arg, " ")
}

// markOption gives marks their one spelling: value/mask in hex.
func markOption(name, arg string) string {
	left, right, masked := strings.Cut(arg, "/")
	value, err := strconv.ParseUint(left, 0, 32)
	mask := uint64(0xffffffff)
	if masked && err == nil {
		mask, err = strconv.ParseUint(right, 0, 32)
	}
	if err != nil {
		return name + " " + arg
	}
	switch name {
	case "--set-mark":
		mask |= value
	case "--or-mark":
		mask = value
	case "--and-mark":
		value, mask = 0, ^value&0xffffffff
	case "--xor-mark":
		mask = 0
	}
	if name != "--mark" {
		name = "--set-xmark"
	}
	return fmt.Sprintf("%s %#x/%#x", name, value, mask)
}

var protocols = map[string]string{
	"1": "icmp", "6": "tcp", "17": "udp", "58": "ipv6-icmp", "icmpv6": "ipv6-icmp", "132": "sctp", "0": "all",
}

func protocolName(s string) string {
	if name, ok := protocols[s]; ok {
		return name
	}
	return s
}

// matchOf names the match that -p implies.
func matchOf(protocol string) string {
	if protocol == "ipv6-icmp" {
		return "icmp6"
	}
	return protocol
}

// plainAddress returns an address or prefix in its one spelling, empty for one
// that fits all.
func plainAddress(s string) string {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.String()
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return s
	case p.Bits() == 0:
		return ""
	case p.IsSingleIP():
		return p.Addr().String()
	}
	return p.Masked().String()
}
