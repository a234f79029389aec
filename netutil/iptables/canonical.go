package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Canonical returns a form of the rule that is equal for all its spellings. The form is for
// comparison only. These do not count:
//
//   - quotes around words that need none, and long names of options
//   - the order of matches, of options in a match, and of connection states
//   - "-m tcp", udp, sctp, icmp or icmp6 beside the -p that implies it
//   - protocols by number
//   - "/32" and "/128", spellings of an address, and 0.0.0.0/0 or ::/0
//   - --set-mark, --or-mark, --and-mark and --xor-mark, which are shown as
//     --set-xmark; the base of numbers; a mask of all ones
//   - REJECT's default, which is always shown
//
// The error says which word iptables would not print.
func (r Rule) Canonical() (string, error) {
	var p parts
	for _, o := range r.Options {
		if err := p.option(o); err != nil {
			return "", err
		}
	}
	return p.String(), nil
}

// parts are those of a rule.
type parts struct {
	basic   []string  // -s, -d, -i, -o, -p
	matches []match   // one a -m
	jump    match     // -j or -g and the target's options
	into    *[]string // where the next option goes
}

type match struct {
	name    string
	options []string
}

// option takes in an option.
func (p *parts) option(o Option) error {
	not := ""
	if o.Not {
		not = "! "
	}
	switch {
	case !strings.HasPrefix(o.Name, "-"):
		return fmt.Errorf("%q is not an option", o.Name)
	case len(o.Name) == 2 && len(o.Args) != 1 && o.Name != "-f":
		return fmt.Errorf("%s takes one argument", o.Name)
	}
	switch arg := o.Arg(); o.Name {
	case "-m":
		p.open(arg)
	case "-j", "-g":
		p.jump = match{name: o.Name + " " + arg}
		p.into = &p.jump.options
	case "-p":
		proto := ProtocolName(arg)
		p.basic = append(p.basic, not+"-p "+proto)
		p.open(matchOf(proto)) // its options may follow without a -m
	case "-s", "-d":
		if a := plainAddress(arg); a != "" || not != "" {
			p.basic = append(p.basic, not+o.Name+" "+a)
		}
	case "-i", "-o", "-f":
		p.basic = append(p.basic, o.String())
	default:
		if p.into == nil {
			return fmt.Errorf("%s belongs to no match", o.Name)
		}
		if v := value(o.Name, arg); v != "" {
			*p.into = append(*p.into, not+v)
		}
	}
	return nil
}

// open makes name the match that options belong to. A protocol's match is one
// however often it is named; of others there may be several.
func (p *parts) open(name string) {
	for i, m := range p.matches {
		if m.name == name && implied(name) {
			p.into = &p.matches[i].options
			return
		}
	}
	p.matches = append(p.matches, match{name: name})
	p.into = &p.matches[len(p.matches)-1].options
}

// implied reports whether a match without options adds nothing to its -p.
func implied(match string) bool {
	switch match {
	case "tcp", "udp", "sctp", "icmp", "icmp6":
		return true
	}
	return false
}

// String joins the parts in a fixed order.
func (p *parts) String() string {
	slices.Sort(p.basic)
	all := p.basic
	var matches []string
	for _, m := range p.matches {
		if len(m.options) > 0 || !implied(m.name) && m.name != "all" {
			matches = append(matches, "-m "+m.String())
		}
	}
	slices.Sort(matches)
	all = append(all, matches...)
	return strings.Join(append(all, p.jump.String()), " ")
}

func (o match) String() string {
	slices.Sort(o.options)
	return strings.Join(append([]string{o.name}, o.options...), " ")
}

// value returns an option with its arguments in their one spelling, empty if
// it says nothing.
func value(name, arg string) string {
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
	value, mask, ok := Mark(arg)
	if !ok {
		return name + " " + arg
	}
	switch name {
	case "--set-mark":
		mask |= value
	case "--or-mark":
		mask = value
	case "--and-mark":
		value, mask = 0, ^value
	case "--xor-mark":
		mask = 0
	}
	if name != "--mark" {
		name = "--set-xmark"
	}
	return fmt.Sprintf("%s %#x/%#x", name, value, mask)
}

// Mark reads VALUE/MASK; without a mask it is of all bits.
func Mark(text string) (value, mask uint32, ok bool) {
	left, right, masked := strings.Cut(text, "/")
	if !masked {
		right = "0xffffffff"
	}
	v, errValue := strconv.ParseUint(left, 0, 32)
	m, errMask := strconv.ParseUint(right, 0, 32)
	return uint32(v), uint32(m), errValue == nil && errMask == nil
}

var protocols = map[string]string{
	"1": "icmp", "6": "tcp", "17": "udp", "58": "ipv6-icmp", "icmpv6": "ipv6-icmp", "132": "sctp", "0": "all",
}

// ProtocolName returns the name of a protocol that may be given by its number.
func ProtocolName(s string) string {
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
