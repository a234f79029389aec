package netutil

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kube-ipvs/netutil/iptables"
)

// Reach has the new packets to which a rule may apply.
type Reach struct {
	Dst      netip.Prefix // invalid: any address
	Protocol string       // empty: any
	Ports    []PortRange  // nil: any
}

// PortRange is a range of ports, both ends of which are in it.
type PortRange struct{ First, Last uint16 }

// Denials returns the rules that drop or reject packets in a built-in chain of the table filter
// of a family, or in chains to which it leads, as iptables-save prints them, with " > "
// between a rule and the one to which it leads; and a policy DROP. It leaves out chains by name,
// and rules for whose Reach mayHit is false. It may return a rule that other rules keep packets
// from. The tool prints the whole table. It is an error if the tool does not print the table,
// since a newer iptables or another program has made a rule.
func (b Backend) Denials(ctx context.Context, family Family, chain string, leaveOut func(chain string) bool, mayHit func(Reach) bool) ([]string, error) {
	if there, err := b.hasFilter(family); !there || err != nil {
		return nil, err
	}
	tool, err := b.tool(ctx, family, "save")
	if err != nil {
		return nil, err
	}
	text, msg, err := run(ctx, "", tool, "-t", "filter")
	if err != nil {
		return nil, fmt.Errorf("%s -t filter: %w: %s", tool, err, oneLine(msg))
	}
	if strings.Contains(text, incompatible) {
		return nil, fmt.Errorf("%s -t filter: %s", tool, oneLine(text))
	}
	return denialsIn(text, chain, leaveOut, mayHit), nil
}

// hasFilter reports whether there is a table filter, which asking the tool would make.
func (b Backend) hasFilter(family Family) (bool, error) {
	if b == Legacy {
		return slices.Contains(legacyTables(family), "filter"), nil
	}
	return HasNFTable(family, "filter")
}

// denials collects Denials.
type denials struct {
	rules    map[string][]string // by chain, as they are printed
	leaveOut func(string) bool
	mayHit   func(Reach) bool
	left     int // how many rules may be looked at
	out      []string
}

func denialsIn(text, chain string, leaveOut func(string) bool, mayHit func(Reach) bool) []string {
	const most = 100_000 // each rule counts as often as rules lead to its chain
	d := denials{rules: map[string][]string{}, leaveOut: leaveOut, mayHit: mayHit, left: most}
	policy := ""
	for l, err := range iptables.Lines(text) {
		if err != nil {
			continue
		}
		if l.Policy == "" {
			d.rules[l.Chain] = append(d.rules[l.Chain], l.Rule)
		} else if l.Chain == chain && l.Policy == "DROP" {
			policy = "-P " + chain + " DROP"
		}
	}
	d.walk(chain, "")
	if policy != "" {
		d.out = append(d.out, policy)
	}
	return d.out
}

// walk takes in the rules of a chain, to which rules lead by a way.
func (d *denials) walk(chain, way string) {
	for _, rule := range d.rules[chain] {
		if d.left--; d.left < 0 {
			return
		}
		r, err := iptables.Parse(chain, rule)
		if to, ok := reachOf(r); err != nil || !ok || !d.mayHit(to) {
			continue
		}
		line, target := way+r.String(), r.Target()
		_, leads := d.rules[target]
		switch {
		case target == "DROP" || target == "REJECT":
			d.out = append(d.out, line)
		case leads && !d.leaveOut(target):
			d.walk(target, line+" > ")
		}
	}
}

// reachOf returns to what a rule may apply. ok is false where it is about no new
// packet that comes from another host.
func reachOf(r iptables.Rule) (to Reach, ok bool) {
	for _, o := range r.Options {
		if neverNew(o) {
			return to, false
		}
		if o.Not {
			continue
		}
		switch arg := o.Arg(); o.Name {
		case "-d":
			to.Dst = prefixOf(arg)
		case "-p":
			if arg != "all" {
				to.Protocol = iptables.ProtocolName(arg)
			}
		case "--dport", "--dports", "--destination-ports":
			to.Ports = portRanges(arg)
		}
	}
	return to, true
}

// neverNew reports whether an option keeps a rule from new packets of other hosts to one
// address.
func neverNew(o iptables.Option) bool {
	words := strings.Split(o.Arg(), ",")
	switch o.Name {
	case "-i":
		return o.Arg() == "lo" && !o.Not
	case "--ctstate", "--state":
		return slices.Contains(words, "NEW") == o.Not
	case "--dst-type":
		return !o.Not && !slices.Contains(words, "LOCAL") && !slices.Contains(words, "UNICAST")
	}
	return false
}

func prefixOf(text string) netip.Prefix {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen())
	}
	p, _ := netip.ParsePrefix(text) // "addr/255.255.0.255" may be any
	return p
}

func portRanges(text string) []PortRange {
	var out []PortRange
	for _, part := range strings.Split(text, ",") {
		first, last, isRange := strings.Cut(part, ":")
		a, err := strconv.ParseUint(first, 10, 16)
		b := a
		if isRange && err == nil {
			b, err = strconv.ParseUint(last, 10, 16)
		}
		if err != nil {
			return nil // by a name, or in a way that is not known: any
		}
		out = append(out, PortRange{uint16(a), uint16(b)})
	}
	return out
}
